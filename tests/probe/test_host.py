"""The host, from recorded and from broken /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.probe.cgroup import core_quota, memory_limit
from autotune.probe.cpu import parse_core_list, parse_cpuinfo
from autotune.probe.host import parse_meminfo, probe_host

MIB, GIB = 2**20, 2**30

XEON = """\
processor\t: 0
model name\t: Intel(R) Xeon(R)  Platinum 8480+
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni amx_bf16 amx_tile amx_int8
processor\t: 1
model name\t: Intel(R) Xeon(R)  Platinum 8480+
"""
GRAVITON = """\
processor\t: 0
Features\t: fp asimd asimdhp asimddp sve i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
V2 = {
    "proc/self/mountinfo": "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
    "proc/self/cgroup": "0::/system.slice/job.service",
}
V2_JOB = "sys/fs/cgroup/system.slice/job.service"
V1 = {
    "proc/self/mountinfo": "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw"
    " - cgroup cgroup rw,memory\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    "proc/self/cgroup": "4:memory:/docker/abc/inner\n1:cpu,cpuacct:/\n0::/",
}
V1_MEMORY = "sys/fs/cgroup/memory"


def tree(root: Path, *parts: dict[str, str]) -> Path:
    for path, text in {key: part[key] for part in parts for key in part}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")
    return root


def test_a_recorded_host_is_read(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/cpuinfo": XEON,
            "proc/meminfo": "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\nSwapTotal: 0 kB",
            "proc/loadavg": "1.25 0.5 0.1 1/200 4242",
            "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t1",
        },
    )
    host = probe_host(tmp_path / "not/yet/there", root=root)
    assert host.cpu_name == "Intel(R) Xeon(R) Platinum 8480+"
    assert {"amx_bf16", "avx512_bf16", "avx2"} <= set(host.cpu_features)
    assert (host.logical_cores, host.usable_cores) == (2, 1)
    assert (host.ram_total_bytes, host.ram_available_bytes) == (GIB, GIB // 2)
    assert (host.ram_limit_bytes, host.swap_total_bytes, host.load_1m) == (None, 0, 1.25)
    assert host.disk_free_bytes is not None
    assert host.unknown == {}


def test_an_arm_processor_is_named_by_its_numbers() -> None:
    cpu = parse_cpuinfo(GRAVITON)
    assert cpu.name == "ARM 0x41:0xd40"
    assert cpu.features == ("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve")


@pytest.mark.parametrize(
    ("files", "limit", "headroom"),
    [
        ({f"{V2_JOB}/memory.max": "max"}, None, None),
        (
            {f"{V2_JOB}/memory.max": str(GIB), f"{V2_JOB}/memory.current": str(GIB // 4)},
            GIB,
            GIB * 3 // 4,
        ),
        (
            {
                f"{V2_JOB}/memory.max": str(GIB),
                f"{V2_JOB}/memory.current": str(GIB),
                f"{V2_JOB}/memory.stat": f"anon 5\ninactive_file {GIB // 2}",
            },
            GIB,
            GIB // 2,
        ),
        ({f"{V2_JOB}/memory.high": str(GIB), f"{V2_JOB}/memory.max": "max"}, GIB, GIB),
        (
            {
                f"{V2_JOB}/memory.max": str(4 * GIB),
                "sys/fs/cgroup/system.slice/memory.max": str(GIB),
                "sys/fs/cgroup/system.slice/memory.current": str(2 * GIB),
            },
            GIB,
            0,
        ),
        ({f"{V2_JOB}/memory.max": "-5"}, None, None),
        ({f"{V2_JOB}/memory.max": "lots"}, None, None),
    ],
)
def test_the_tightest_limit_of_the_group_and_its_parents_counts(
    tmp_path: Path, files: dict[str, str], limit: int | None, headroom: int | None
) -> None:
    assert memory_limit(tree(tmp_path, V2, files)) == (limit, headroom)


def test_a_container_with_version_1_is_limited_through_its_own_mount(tmp_path: Path) -> None:
    files = {
        f"{V1_MEMORY}/inner/memory.limit_in_bytes": "9223372036854771712",
        f"{V1_MEMORY}/memory.limit_in_bytes": str(GIB),
        f"{V1_MEMORY}/memory.usage_in_bytes": str(GIB // 2),
        f"{V1_MEMORY}/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "250000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    root = tree(tmp_path, V1, files)
    assert memory_limit(root) == (GIB, GIB * 3 // 4)
    assert core_quota(root) == 2.5


@pytest.mark.parametrize(
    ("text", "quota"),
    [
        ("max 100000", None),
        ("150000 100000", 1.5),
        ("100000 0", None),
        ("", None),
        ("-1 100000", None),
        ("9" * 5000 + " 1", None),
    ],
)
def test_a_quota_is_a_number_of_cores(tmp_path: Path, text: str, quota: float | None) -> None:
    assert core_quota(tree(tmp_path, V2, {f"{V2_JOB}/cpu.max": text})) == quota


def test_a_quota_leaves_whole_cores_and_at_least_one(tmp_path: Path) -> None:
    cpu = {"proc/cpuinfo": XEON, "proc/self/status": "Cpus_allowed_list:\t0-1"}
    for text, cores in (("150000 100000", 1), ("10000 100000", 1), ("900000 100000", 2)):
        root = tree(tmp_path, V2, cpu, {f"{V2_JOB}/cpu.max": text})
        assert probe_host(root=root).usable_cores == cores


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0", 1), ("0-3", 4), ("0-1,4,6-7", 5), ("0-3,2", 4), ("", 0), ("3-", 0), ("٣", 0)],
)
def test_a_list_of_cores_is_counted(text: str, cores: int) -> None:
    assert parse_core_list(text) == cores


def test_a_missing_proc_leaves_what_the_system_itself_tells(tmp_path: Path) -> None:
    host = probe_host(root=tmp_path)
    assert host.ram_total_bytes > 0
    assert host.usable_cores >= 1
    assert host.load_1m is None
    assert "load_1m" in host.unknown


GARBAGE = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.tuples(
            st.sampled_from(["MemTotal", "MemAvailable", "processor", "flags", "Features", "x"]),
            st.sampled_from([":", ": ", "", "::"]),
            st.one_of(st.text(max_size=20), st.integers().map(str)),
            st.sampled_from([" kB", "", " MB", "\t"]),
        ).map("".join),
        max_size=8,
    ).map("\n".join),
)


@settings(deadline=None)
@given(GARBAGE)
def test_no_text_upsets_the_parsers(text: str) -> None:
    assert all(value >= 0 for value in parse_meminfo(text).values())
    assert parse_cpuinfo(text).cores >= 0
    assert parse_core_list(text) >= 0


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_no_content_of_proc_upsets_the_probe(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    root = tree(tmp_path_factory.mktemp("root", numbered=True), V2)
    for name in ("cpuinfo", "meminfo", "loadavg", "self/status", "self/mountinfo", "self/cgroup"):
        (root / "proc" / name).write_bytes(content)
    assert probe_host(root=root).usable_cores >= 1


def test_a_nul_in_a_path_or_a_folder_for_a_file_is_no_crash(tmp_path: Path) -> None:
    assert probe_host(Path("a\0b"), root=tmp_path).usable_cores >= 1
    (tmp_path / "proc/meminfo").mkdir(parents=True)
    assert probe_host(root=tmp_path).ram_total_bytes > 0
