/* A stand-in for NVIDIA's libnvidia-ml.so.1. Answers from the text file named by NVIDIA_STUB, which
 * is read again at every call, so values can change while a program runs. Lines are `key=value`:
 *
 *   count=2                       number of cards            0.uuid=GPU-…    a value of card 0
 *   error.nvmlInitWithFlags=18    a function always fails    0.mig.1.uuid=…  of its MIG instance 1
 *   0.error.nvmlDeviceGetName=3   it fails for card 0        sleep.nvmlDeviceGetName=30   it hangs
 *   0.reasons=64                  why its clocks are what they are, as bits
 *   0.processes=41:1048576 42:?   processes on card 0, memory unknown for the second
 *
 * A missing value is NOT_SUPPORTED. Compile with -DnvmlX=absent_nvmlX to leave out a function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
enum { LINE = 512, MOST = 16 };
typedef long Device; /* 1 + card, or 1 + card + MOST * (1 + instance) */
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilisation;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, part; } Process;

/* Find `prefix` + `name` + `suffix`; the last line wins. */
static int find(const char *prefix, const char *name, const char *suffix, char *value) {
    char key[LINE], line[LINE];
    int found = 0, length = snprintf(key, sizeof key, "%s%s%s=", prefix, name, suffix);
    FILE *file = fopen(getenv("NVIDIA_STUB") ? getenv("NVIDIA_STUB") : "", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, length) == 0) {
            line[strcspn(line, "\n")] = 0;
            strcpy(value, line + length);
            found = 1;
        }
    if (file) fclose(file);
    return found;
}

/* Sleep or fail if the file says so for this function, in general or on this device. */
static int enter(const char *prefix, const char *function) {
    char value[LINE];
    if (find("sleep.", function, "", value)) usleep((useconds_t)(atof(value) * 1e6));
    if (find("error.", function, "", value)) return atoi(value);
    if (find(prefix, "error.", function, value)) return atoi(value);
    return OK;
}

static const char *prefix_of(Device device, char *prefix) {
    long card = (device - 1) % MOST, instance = (device - 1) / MOST - 1;
    if (instance < 0) sprintf(prefix, "%ld.", card);
    else sprintf(prefix, "%ld.mig.%ld.", card, instance);
    return prefix;
}

static int number(const char *prefix, const char *key, unsigned long long *value) {
    char text[LINE];
    if (!find(prefix, key, "", text)) return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 10);
    return OK;
}

static int text(const char *prefix, const char *key, char *out, unsigned size) {
    char value[LINE];
    if (!find(prefix, key, "", value)) return NOT_SUPPORTED;
    snprintf(out, size, "%s", value);
    return OK;
}

#define ENTER(prefix) { int code = enter(prefix, __func__); if (code) return code; }
#define ON_DEVICE(device) char prefix[LINE]; prefix_of(device, prefix); ENTER(prefix)
#define GIVE(prefix, key, out) { \
    unsigned long long n; \
    int code = number(prefix, key, &n); \
    if (code) return code; \
    *(out) = n; \
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; ENTER(""); return OK; }
int nvmlInit(void) { ENTER(""); return OK; } /* which torch calls */
int nvmlShutdown(void) { ENTER(""); return OK; }
const char *nvmlErrorString(int code) { (void)code; return "error of the stub"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size) { ENTER(""); return text("", "driver", out, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { ENTER(""); GIVE("", "cuda", out); return OK; }
int nvmlDeviceGetCount_v2(unsigned *out) { ENTER(""); GIVE("", "count", out); return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *out) {
    ON_DEVICE(index + 1);
    *out = index + 1;
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device *out) {
    ENTER("");
    for (Device device = 1; device <= MOST * (MOST + 1); device++) {
        char prefix[LINE], value[LINE];
        if (!find(prefix_of(device, prefix), "uuid", "", value) || strcmp(value, uuid)) continue;
        ENTER(prefix);
        *out = device;
        return OK;
    }
    return NOT_FOUND;
}

int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *out) {
    ON_DEVICE(device);
    *out = 7;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *out) {
    ON_DEVICE(device);
    char value[LINE], inner[LINE];
    *out = device + MOST * (1 + (Device)index);
    return find(prefix_of(*out, inner), "uuid", "", value) ? OK : NOT_FOUND;
}

int nvmlDeviceGetUUID(Device device, char *out, unsigned size) { ON_DEVICE(device); return text(prefix, "uuid", out, size); }
int nvmlDeviceGetName(Device device, char *out, unsigned size) { ON_DEVICE(device); return text(prefix, "name", out, size); }

int nvmlDeviceGetMemoryInfo(Device device, Memory *out) {
    ON_DEVICE(device);
    GIVE(prefix, "total", &out->total);
    GIVE(prefix, "free", &out->free);
    out->used = out->total - out->free;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(Device device, Memory2 *out) {
    ON_DEVICE(device);
    GIVE(prefix, "total", &out->total);
    GIVE(prefix, "free", &out->free);
    GIVE(prefix, "reserved", &out->reserved);
    out->used = out->total - out->free - out->reserved;
    return OK;
}

int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    ON_DEVICE(device);
    char value[LINE];
    if (!find(prefix, "capability", "", value)) return NOT_SUPPORTED;
    return sscanf(value, "%d.%d", major, minor) == 2 ? OK : INVALID;
}

int nvmlDeviceGetMaxPcieLinkGeneration(Device device, unsigned *out) { ON_DEVICE(device); GIVE(prefix, "pcie_generation", out); return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(Device device, unsigned *out) { ON_DEVICE(device); GIVE(prefix, "pcie_width", out); return OK; }
int nvmlDeviceGetPowerManagementLimit(Device device, unsigned *out) { ON_DEVICE(device); GIVE(prefix, "power_mw", out); return OK; }
int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *out) { (void)sensor; ON_DEVICE(device); GIVE(prefix, "temperature", out); return OK; }
int nvmlDeviceGetEccMode(Device device, unsigned *now, unsigned *next) { ON_DEVICE(device); GIVE(prefix, "ecc", now); *next = *now; return OK; }
int nvmlDeviceGetMigMode(Device device, unsigned *now, unsigned *next) { ON_DEVICE(device); GIVE(prefix, "mig", now); *next = *now; return OK; }

int nvmlDeviceGetClockInfo(Device device, int type, unsigned *out) {
    ON_DEVICE(device);
    GIVE(prefix, type == 2 ? "memory_clock" : "sm_clock", out);
    return OK;
}

int nvmlDeviceGetMaxClockInfo(Device device, int type, unsigned *out) { (void)type; ON_DEVICE(device); GIVE(prefix, "max_clock", out); return OK; }
int nvmlDeviceGetDefaultApplicationsClock(Device device, int type, unsigned *out) { (void)type; ON_DEVICE(device); GIVE(prefix, "default_clock", out); return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long *out) { ON_DEVICE(device); GIVE(prefix, "reasons", out); return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *out) { ON_DEVICE(device); GIVE(prefix, "reasons", out); return OK; }

int nvmlDeviceGetUtilizationRates(Device device, Utilisation *out) {
    ON_DEVICE(device);
    GIVE(prefix, "utilisation", &out->gpu);
    out->memory = 0;
    return OK;
}

static int processes(const char *prefix, const char *key, unsigned *count, Process *out) {
    char value[LINE] = "";
    unsigned room = *count, seen = 0;
    find(prefix, key, "", value);
    for (char *word = strtok(value, " "); word; word = strtok(NULL, " "), seen++) {
        char *used = strchr(word, ':');
        if (!used || !out || seen >= room) continue;
        out[seen].pid = atoi(word);
        out[seen].used = used[1] == '?' ? ~0ULL : strtoull(used + 1, NULL, 10);
        out[seen].instance = out[seen].part = ~0U;
    }
    *count = seen;
    return seen > room || (seen && !out) ? TOO_SMALL : OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, Process *out) { ON_DEVICE(device); return processes(prefix, "processes", count, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, Process *out) { ON_DEVICE(device); return processes(prefix, "drawing", count, out); }
