"""NVIDIA cards through NVML, the management library of the driver. The only importer of pynvml.

Each call can fail alone (an old driver, a container, a laptop), so each answer is kept or
explained alone. The library can also hang when the driver is stuck, so calls have a deadline
(rows G1 to G5 of the fault matrix).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pynvml

from autotune.probe.deadline import DEADLINE_S, answer_within
from autotune.probe.nvml_failures import (
    FOR_GOOD,
    FUNCTION_NOT_FOUND,
    LOST,
    NOT_SUPPORTED,
    NvmlSilent,
    NvmlUnavailable,
    failure,
    reason,
)
from autotune.records import Neighbour

#: Without the persistence daemon the first start brings the cards up, one to three seconds each
#: (NVIDIA's "Driver Persistence" guide).
START_DEADLINE_S = 30.0
#: A call that failed so often, a second of film, is not made again.
_MOST_FAILURES = 25


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one card said, under the names of ``Device``, and why the rest is unknown.

    ``index`` is the position of the physical card in NVML's order, which is that of the PCI bus.
    """

    index: int
    values: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def ask(self, name: str, call: Callable[..., Any], *args: Any) -> None:
        """Keep the answer of ``call`` as field ``name``, or the reason why there is none."""
        try:
            self.values[name] = call(*args)
        except Exception as error:  # pynvml also trips over texts that are not UTF-8
            self.unknown[name] = _reason(error)


@contextmanager
def session(deadline_s: float = START_DEADLINE_S) -> Iterator[None]:
    """Keep NVML started. Sessions nest: one around a loop makes the reads inside cheap.

    Raises:
        NvmlUnavailable: There is no driver, or it cannot be used, or it hangs.
    """
    _within(deadline_s, pynvml.nvmlInit)
    try:
        yield
    finally:
        with suppress(NvmlUnavailable):  # nothing depends on a tidy end
            _within(DEADLINE_S, pynvml.nvmlShutdown)


def read_cards(
    deadline_s: float = DEADLINE_S, *, start_deadline_s: float = START_DEADLINE_S
) -> tuple[Reading, ...]:
    """Read every card, in PCI order; a card with MIG on is replaced by its instances.

    A reading without ``uuid`` or ``total_bytes`` is a card that cannot be used, unless it
    ``uses_host_memory`` (GB10 has none of its own). When NVML falls silent, what it said until
    then is kept and the rest is unknown.

    Raises:
        NvmlUnavailable: Nothing could be read at all.
    """
    readings: list[Reading] = []
    with session(start_deadline_s):
        try:
            _within(deadline_s, lambda: _read_all(readings))
        except NvmlSilent as silent:
            if not any("total_bytes" in reading.values for reading in readings):
                raise
            return tuple(_cut_off(reading, silent.message) for reading in tuple(readings))
    return tuple(readings)


def read_use(
    uuid: str, deadline_s: float = DEADLINE_S, *, start_deadline_s: float = START_DEADLINE_S
) -> Reading:
    """Read what is used of one card now: ``used_bytes``, ``processes``, ``utilisation`` (0 to 1).

    Raises:
        NvmlUnavailable: The card or the driver is gone (``lost``) or cannot be asked.
    """
    reading = Reading(index=-1)

    def read() -> None:
        reading.values.update(
            Watched(uuid, reading).look(("used_bytes", "processes", "utilisation"))
        )

    with session(start_deadline_s):
        _within(deadline_s, read)
    return reading


class Watched:
    """A card that is looked at again and again, in a session; its calls have no deadline.

    What it cannot tell is asked no more, and explained in the reading's ``unknown``.

    Raises:
        NvmlUnavailable: The card is gone (``lost``), from here and from ``look``: a handle
            outlives its card.
    """

    def __init__(self, uuid: str, reading: Reading) -> None:
        self._reading = reading
        self._failures: Counter[str] = Counter()
        with _explained():
            self._questions = _questions(pynvml.nvmlDeviceGetHandleByUUID(uuid), reading)

    def look(self, names: Iterable[str]) -> dict[str, int | float]:
        """What these fields are now, as far as the card tells."""
        seen: dict[str, int | float] = {}
        for name in names:
            if self._failures[name] >= _MOST_FAILURES:
                continue
            try:
                seen[name] = self._questions[name]()
            except Exception as error:  # as in Reading.ask
                code = getattr(error, "value", None)
                if code in LOST:
                    raise failure(code, str(error)) from error
                self._failures[name] += _MOST_FAILURES if code in FOR_GOOD else 1
                self._reading.unknown[name] = _reason(error)
        return seen


def _questions(handle: Any, reading: Reading) -> dict[str, Callable[[], int | float]]:
    return {
        "used_bytes": lambda: int(_memory(handle, reading).used),
        "utilisation": lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
        "processes": lambda: len(_processes(handle, reading)),
        "sm_clock_mhz": lambda: int(_SHARED["sm_clock_mhz"](handle)),
        "temperature_c": lambda: int(_SHARED["temperature_c"](handle)),
        "event_reasons": lambda: _event_reasons(handle),
        "power_limit_w": lambda: float(_SHARED["power_limit_w"](handle)),
        # The clock of the multiprocessors follows that of the graphics domain.
        "default_clock_mhz": lambda: int(
            pynvml.nvmlDeviceGetDefaultApplicationsClock(handle, pynvml.NVML_CLOCK_GRAPHICS)
        ),
        "max_clock_mhz": lambda: int(
            pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)
        ),
    }


def _event_reasons(handle: Any) -> int:
    """Why the clocks are what they are, as bits; older drivers call them throttle reasons."""
    try:
        return int(pynvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except pynvml.NVMLError as error:
        if error.value != FUNCTION_NOT_FOUND:
            raise
        return int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _read_all(readings: list[Reading]) -> None:
    driver = Reading(index=-1)
    driver.ask("driver", pynvml.nvmlSystemGetDriverVersion)
    driver.ask("cuda", _cuda_version)
    for index in range(pynvml.nvmlDeviceGetCount()):
        card = Reading(index=index, values={**driver.values}, unknown={**driver.unknown})
        readings.append(card)
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            card.unknown["uuid"] = _reason(error)
            continue
        card.ask("mig", _divided, handle)
        divided = card.values.get("mig", False)
        if not divided:  # first what the card cannot be used without, in case NVML falls silent
            _read_own(card, handle)
        for name, call in _SHARED.items():
            card.ask(name, call, handle)
        if divided:
            card.unknown["uuid"] = "MIG is on, and it has no instance that answers"
            readings[-1:] = _instances(card, handle) or [card]


#: What belongs to the card as a whole; its MIG instances share it.
_SHARED: dict[str, Callable[[Any], Any]] = {
    "compute_capability": lambda card: "{}.{}".format(
        *pynvml.nvmlDeviceGetCudaComputeCapability(card)
    ),
    # An idle link falls back to generation 1, so only the best of card and slot means something;
    # the width stays, and is less than the best in a narrow slot.
    "pcie_generation": pynvml.nvmlDeviceGetMaxPcieLinkGeneration,
    "pcie_width": pynvml.nvmlDeviceGetCurrPcieLinkWidth,
    "power_limit_w": lambda card: pynvml.nvmlDeviceGetPowerManagementLimit(card) / 1000,
    "ecc": lambda card: bool(pynvml.nvmlDeviceGetEccMode(card)[0]),
    "sm_clock_mhz": lambda card: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_SM),
    "memory_clock_mhz": lambda card: pynvml.nvmlDeviceGetClockInfo(card, pynvml.NVML_CLOCK_MEM),
    "temperature_c": lambda card: pynvml.nvmlDeviceGetTemperature(
        card, pynvml.NVML_TEMPERATURE_GPU
    ),
}


def _read_own(reading: Reading, handle: Any) -> None:
    """Read what each MIG instance has for itself, and a whole card too."""
    reading.ask("uuid", pynvml.nvmlDeviceGetUUID, handle)
    reading.ask("name", pynvml.nvmlDeviceGetName, handle)
    try:
        memory = _memory(handle, reading)
    except pynvml.NVMLError as error:
        reading.unknown["total_bytes"] = reading.unknown["free_bytes"] = _reason(error)
        reading.values["uses_host_memory"] = error.value == NOT_SUPPORTED
    else:
        reading.values["free_bytes"] = int(memory.free)
        reading.values["total_bytes"] = int(memory.total)
    reading.ask("neighbours", lambda: _processes(handle, reading))


def _divided(handle: Any) -> bool:
    return bool(pynvml.nvmlDeviceGetMigMode(handle)[0])


def _instances(card: Reading, handle: Any) -> list[Reading]:
    """The MIG instances of a card, which are devices of their own with their own UUID."""
    reasons = {name: why for name, why in card.unknown.items() if name != "uuid"}
    found: list[Reading] = []
    with suppress(pynvml.NVMLError):  # the card then says that no instance answers
        for position in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            with suppress(pynvml.NVMLError):  # most positions are empty
                instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, position)
                found.append(replace(card, values={**card.values}, unknown={**reasons}))
                _read_own(found[-1], instance)
    return found


def _cuda_version() -> str:
    """The newest CUDA the driver supports: 13020 is 13.2."""
    version = pynvml.nvmlSystemGetCudaDriverVersion_v2()
    return f"{version // 1000}.{version % 1000 // 10}"


def _memory(handle: Any, reading: Reading) -> Any:
    """Total, free and used; apart from them what the driver reserves, where it can tell."""
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError as error:
        reading.unknown["reserved_bytes"] = _reason(error)
        return pynvml.nvmlDeviceGetMemoryInfo(handle)
    reading.values["reserved_bytes"] = int(memory.reserved)
    return memory


def _processes(handle: Any, reading: Reading) -> tuple[Neighbour, ...]:
    """The other processes on a card, those that only draw included: they take memory and time."""
    found = {p.pid: p.usedGpuMemory for p in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    try:
        drawing = pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
    except pynvml.NVMLError as error:
        reading.unknown["graphics"] = f"processes that only draw are not seen: {_reason(error)}"
    else:
        found = {process.pid: process.usedGpuMemory for process in drawing} | found
    found.pop(os.getpid(), None)
    return tuple(Neighbour(pid=pid, used_bytes=used) for pid, used in sorted(found.items()))


def _cut_off(reading: Reading, why: str) -> Reading:
    """A copy that the thread left behind cannot change, every missing field explained."""
    values = dict(reading.values)
    asked = ("mig", "uuid", "name", "total_bytes", "free_bytes", "neighbours", *_SHARED)
    missing = {name: why for name in asked if name not in values}
    return replace(reading, values=values, unknown={**missing, **dict(reading.unknown)})


def _within(deadline_s: float, call: Callable[[], object]) -> None:
    """Run ``call``; turn silence and every error of NVML into one sentence and a hint."""
    with _explained():
        answer_within(deadline_s, call, name="NVML")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        hint = "the driver is stuck: look into dmesg, then reset the GPU or reboot"
        raise NvmlSilent(str(error), hint=hint) from error
    except pynvml.NVMLError as error:
        raise failure(error.value, str(error)) from error


def _reason(error: Exception) -> str:
    return reason(getattr(error, "value", None), str(error))
