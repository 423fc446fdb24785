"""NVML in all its moods: the real pynvml against a compiled stand-in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stubs.nvml import (
    COMPILER,
    DRIVER_NOT_LOADED,
    GIB,
    GPU_IS_LOST,
    NO_COMPILER,
    NO_PERMISSION,
    NOT_SUPPORTED,
    RESET_REQUIRED,
    UNKNOWN,
    VERSION_MISMATCH,
    StubNvml,
    card,
)

Probe = Callable[..., Any]

FIELD_OF_CALL = {
    "nvmlSystemGetDriverVersion": "driver",
    "nvmlSystemGetCudaDriverVersion_v2": "cuda",
    "nvmlDeviceGetMemoryInfo_v2": "reserved_bytes",
    "nvmlDeviceGetCudaComputeCapability": "compute_capability",
    "nvmlDeviceGetMaxPcieLinkGeneration": "pcie_generation",
    "nvmlDeviceGetCurrPcieLinkWidth": "pcie_width",
    "nvmlDeviceGetPowerManagementLimit": "power_limit_w",
    "nvmlDeviceGetEccMode": "ecc",
    "nvmlDeviceGetMigMode": "mig",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetComputeRunningProcesses_v3": "neighbours",
    "nvmlDeviceGetName": "name",
}


def test_a_healthy_card_is_read_completely(nvml: StubNvml, probe: Probe) -> None:
    nvml.set(**{"0.processes": f"41:{GIB} 42:?", "0.drawing": "43:1024"})
    machine = probe(nvml.env())
    cuda, cpu = machine["devices"]
    assert cpu["kind"] == "cpu"
    assert machine["unknown"] == {}
    assert cuda == {
        "kind": "cuda",
        "uuid": "GPU-01111111-2222-3333-4444-555555555555",
        "name": "NVIDIA H200",
        "total_bytes": 139 * GIB,
        "free_bytes": 130 * GIB,
        "reserved_bytes": GIB,
        "driver": "580.65.06",
        "cuda": "13.2",
        "compute_capability": "9.0",
        "pcie_generation": 5,
        "pcie_width": 16,
        "power_limit_w": 700.0,
        "ecc": True,
        "mig": False,
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 3201,
        "temperature_c": 31,
        "neighbours": [
            {"pid": 41, "used_bytes": GIB},
            {"pid": 42, "used_bytes": None},
            {"pid": 43, "used_bytes": 1024},
        ],
        "unknown": {},
    }


@pytest.mark.fault("G1")
def test_without_a_library_the_cpu_is_left_and_the_reason_is_given(
    probe: Probe, tmp_path: Path
) -> None:
    env = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    if "cuda" not in (unknown := probe(env)["unknown"]):
        pytest.skip("this machine has an NVIDIA driver")
    assert "no NVIDIA driver was found" in unknown["cuda"]


@pytest.mark.fault("G2")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (VERSION_MISMATCH, ["updated under the running kernel", "reboot, or reload the driver"]),
        (DRIVER_NOT_LOADED, ["not loaded", "modprobe nvidia"]),
        (GPU_IS_LOST, ["the GPU is lost", "reboot"]),
        (NO_PERMISSION, ["does not let this user in", "/dev/nvidia0"]),
        (UNKNOWN, ["NVML does not work", "nvidia-smi"]),
    ],
)
def test_a_driver_that_cannot_start_becomes_one_sentence_and_a_hint(
    nvml: StubNvml, probe: Probe, code: int, words: list[str]
) -> None:
    nvml.fail("nvmlInitWithFlags", code)
    machine = probe(nvml.env())
    assert [device["kind"] for device in machine["devices"]] == ["cpu"]
    for word in words:
        assert word in machine["unknown"]["cuda"]


@pytest.mark.fault("G4")
@pytest.mark.parametrize("code", [NOT_SUPPORTED, NO_PERMISSION, UNKNOWN])
def test_a_call_that_fails_leaves_only_its_field_unknown(
    nvml: StubNvml, run: Callable[..., Any], code: int
) -> None:
    read_each = """
import json, os, sys
from pathlib import Path
from autotune.probe.nvml import read_cards
file = Path(os.environ["NVIDIA_STUB"])
healthy, seen = file.read_text(), {}
for call in sys.stdin.read().split():
    file.write_text(healthy + f"error.{call}=CODE\\n")
    card, = read_cards()
    seen[call] = {"unknown": card.unknown, "known": len(card.values)}
print(json.dumps(seen))
""".replace("CODE", str(code))
    seen = run(read_each, nvml.env(), "\n".join(FIELD_OF_CALL))
    for call, field in FIELD_OF_CALL.items():
        assert list(seen[call]["unknown"]) == [field]
        assert seen[call]["unknown"][field]
        assert seen[call]["known"] == 16


@pytest.mark.fault("G4")
@pytest.mark.skipif(COMPILER is None, reason=NO_COMPILER)
def test_a_missing_symbol_leaves_only_that_field_unknown(tmp_path: Path, probe: Probe) -> None:
    nvml = StubNvml.build(tmp_path, omit=["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMigMode"])
    device = probe(nvml.env())["devices"][0]
    assert device["total_bytes"] == 139 * GIB
    reason = "this driver does not know the call"
    assert device["unknown"] == {"reserved_bytes": reason, "mig": reason}


def test_a_name_that_is_not_text_is_unknown(nvml: StubNvml, probe: Probe) -> None:
    nvml.values.write_bytes(nvml.values.read_bytes() + b"0.name=\xff\xfe\n")
    device = probe(nvml.env())["devices"][0]
    assert device["name"] == "NVIDIA GPU"
    assert "name" in device["unknown"]


@pytest.mark.fault("G3")
def test_a_lost_card_is_set_aside_and_the_other_one_stays(nvml: StubNvml, probe: Probe) -> None:
    nvml.set(count=2, **card(1))
    nvml.fail("nvmlDeviceGetHandleByIndex_v2", GPU_IS_LOST, card=0)
    machine = probe(nvml.env())
    assert [device["uuid"][:5] for device in machine["devices"]] == ["GPU-1", "cpu"]
    assert "cannot be used" in machine["unknown"]["cuda:0"]
    assert "lost" in machine["unknown"]["cuda:0"]


def test_a_card_whose_memory_cannot_be_read_is_set_aside(nvml: StubNvml, probe: Probe) -> None:
    nvml.fail("nvmlDeviceGetMemoryInfo_v2", RESET_REQUIRED)
    nvml.fail("nvmlDeviceGetMemoryInfo", RESET_REQUIRED)
    machine = probe(nvml.env())
    assert [device["kind"] for device in machine["devices"]] == ["cpu"]
    assert "reset" in machine["unknown"]["cuda:0"]


def test_a_card_without_memory_of_its_own_uses_that_of_the_host(
    nvml: StubNvml, probe: Probe
) -> None:
    nvml.set(**{"0.total": None, "0.name": "NVIDIA GB10"})
    machine = probe(nvml.env())
    device = machine["devices"][0]
    assert device["total_bytes"] == machine["host"]["ram_total_bytes"]
    assert "taken from the host" in device["unknown"]["total_bytes"]


@pytest.mark.fault("G11")
def test_mig_instances_replace_their_card(nvml: StubNvml, probe: Probe) -> None:
    instance = {"name": "NVIDIA H200 MIG 1g.18gb", "total": 18 * GIB, "free": 17 * GIB}
    for position in (0, 2):
        values = {"uuid": f"MIG-{position}", **instance}
        nvml.set(**{f"0.mig.{position}.{key}": value for key, value in values.items()})
    nvml.set(**{"0.mig": 1})
    first, second, _ = probe(nvml.env())["devices"]
    assert (first["uuid"], second["uuid"]) == ("MIG-0", "MIG-2")
    assert first["name"] == instance["name"]
    assert first["total_bytes"] == 18 * GIB
    assert (first["mig"], first["compute_capability"]) == (True, "9.0")


@pytest.mark.fault("G11")
def test_a_divided_card_without_instances_cannot_be_used(nvml: StubNvml, probe: Probe) -> None:
    nvml.set(**{"0.mig": 1})
    machine = probe(nvml.env())
    assert [device["kind"] for device in machine["devices"]] == ["cpu"]
    assert "MIG is on" in machine["unknown"]["cuda:0"]


HANGS = """
import json, time
from autotune.errors import CannotRun
from autotune.probe.nvml import read_cards
answers, started = [], time.monotonic()
for _ in range(2):
    try:
        answers.append([[card.values, card.unknown] for card in read_cards(1, start_deadline_s=1)])
    except CannotRun as error:
        answers.append([error.message, error.hint])
print(json.dumps([answers, time.monotonic() - started]))
"""


@pytest.mark.fault("G5")
def test_a_call_that_hangs_leaves_what_was_read_before_it(
    nvml: StubNvml, run: Callable[..., Any]
) -> None:
    nvml.hang("nvmlDeviceGetTemperature")
    started = time.monotonic()
    (first, second), seconds = run(HANGS, nvml.env())
    values, unknown = first[0]
    assert values["total_bytes"] == 139 * GIB
    assert unknown == {"temperature_c": "NVML did not answer within 1 s"}
    assert second[0] == "NVML did not answer within 1 s"  # the thread is stuck: nothing is asked
    assert seconds < 5
    assert time.monotonic() - started < 30  # a stuck thread does not keep the process alive


@pytest.mark.fault("G5")
def test_a_start_that_hangs_is_one_sentence(nvml: StubNvml, run: Callable[..., Any]) -> None:
    nvml.hang("nvmlInitWithFlags")
    (first, second), seconds = run(HANGS, nvml.env())
    assert first == second
    assert first[0] == "NVML did not answer within 1 s"
    assert "dmesg" in first[1]
    assert seconds < 5


def test_values_change_between_calls_of_one_process(nvml: StubNvml) -> None:
    code = """
from autotune.probe.nvml import read_cards, session
with session():
    for _ in range(3):
        input()
        print(read_cards()[0].values["free_bytes"], flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=nvml.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for free in (5 * GIB, 4 * GIB, 0):
            nvml.set(**{"0.free": free})
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{free}\n"
        process.stdin.close()
        assert process.wait(20) == 0
