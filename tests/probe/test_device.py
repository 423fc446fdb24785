"""Which devices are found, and which one is chosen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.probe.device import probe_devices, select_device
from tests.probe.machines import CPU, GIB, HOST, cuda, machine
from tests.stubs.nvml import StubNvml

TWO = machine(cuda("a"), cuda("b", free_bytes=120 * GIB, name="NVIDIA L4"))


def test_the_roomiest_accelerator_is_taken_when_nothing_is_asked_for() -> None:
    assert select_device(TWO, None).uuid.startswith("GPU-b")


def test_the_cpu_is_taken_where_there_is_nothing_else() -> None:
    assert select_device(machine(), None).kind == "cpu"


@pytest.mark.parametrize(
    ("wanted", "uuid"),
    [
        ("cpu", "cpu"),
        ("cuda", "GPU-bbbbbbbb-0000"),
        ("cuda:0", "GPU-aaaaaaaa-0000"),
        ("cuda:1", "GPU-bbbbbbbb-0000"),
        ("GPU-aaaaaaaa-0000", "GPU-aaaaaaaa-0000"),
        ("GPU-aa", "GPU-aaaaaaaa-0000"),
    ],
)
def test_a_device_is_found_by_each_of_its_names(wanted: str, uuid: str) -> None:
    assert select_device(TWO, wanted).uuid == uuid


@pytest.mark.parametrize(
    "wanted",
    [
        *("cuda:99", "cuda:2", "cuda:-1", "cuda:", "cuda:00", "cuda:٠", "CUDA", "-1", "0", "gpu"),
        *("", " cpu", "cpu:0", "GPU-", "GPU-a", "GPU-cccccccc", "gpu-aa", "mps", "rocm:0"),
        *("MIG-12345678", "a\nb", "x" * 5000),
    ],
)
def test_anything_else_is_refused_by_name_with_what_there_is(wanted: str) -> None:
    with pytest.raises(BadInput) as caught:
        select_device(TWO, wanted)
    assert "there is no device" in caught.value.message
    assert len(caught.value.message) < 120
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert "cuda:0 (NVIDIA H200, 100.00 GiB free)" in caught.value.hint
    assert "cuda:1 (NVIDIA L4, 120.00 GiB free)" in caught.value.hint
    assert "cpu (AMD EPYC 9654, 30.00 GiB free)" in caught.value.hint


def test_a_beginning_that_two_devices_share_is_refused() -> None:
    twins = machine(cuda("a", uuid="GPU-aaaa1"), cuda("a", uuid="GPU-aaaa2"))
    with pytest.raises(BadInput, match="2 devices begin with 'GPU-aaaa'"):
        select_device(twins, "GPU-aaaa")


def test_who_asks_for_cuda_is_told_why_there_is_none() -> None:
    broken = machine(unknown={"cuda": "no NVIDIA driver was found"})
    with pytest.raises(BadInput) as caught:
        select_device(broken, "cuda")
    assert "no NVIDIA driver was found" in str(caught.value.hint)


def test_the_cpu_has_no_more_memory_than_its_container() -> None:
    assert probe_devices(HOST, environ={})[0][-1] == CPU.but(free_bytes=32 * GIB)


def test_a_machine_without_a_gpu_is_probed_fast_and_without_torch(
    run: Callable[..., Any],
) -> None:
    code = """
import json, sys, time
started = time.process_time()
from autotune.probe import probe_machine
probe_machine()
print(json.dumps([time.process_time() - started, sorted(sys.modules)]))
"""
    seconds, modules = run(code, dict(os.environ))
    assert seconds < 0.5
    assert not {"torch", "diffusers", "transformers", "optuna"} & set(modules)


FAKE_TORCH = """
from types import SimpleNamespace as Names
def backend(total):
    properties = Names(name="Test GPU", total_memory=total, gcnArchName="gfx942:xnack-", uuid="u1")
    return Names(
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_properties=lambda position: properties,
        mem_get_info=lambda position: (total // 2, total),
    )
cuda, xpu = backend(192 * 2**30), backend(24 * 2**30)
"""


def probe_with_torch(folder: Path, version: str, body: str) -> Any:
    """The devices that are found where torch is a package with that text."""
    (folder / "torch").mkdir()
    (folder / "torch/version.py").write_text(version)
    (folder / "torch/__init__.py").write_text(body)
    code = (
        "from autotune.probe.device import probe_devices; import json, sys;"
        "devices, unknown = probe_devices(environ={'CUDA_VISIBLE_DEVICES': ''});"
        "found = [device.model_dump(mode='json') for device in devices];"
        "print(json.dumps([found, unknown, 'torch' in sys.modules]))"
    )
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "version", "gib"),
    [
        ("rocm", "__version__ = '2.13.0'\nhip: Optional[str] = '7.0.1'\n", 192),
        ("xpu", "cuda: Optional[str] = None\nxpu: Optional[str] = '20250302'\n", 24),
    ],
)
def test_torch_tells_of_the_accelerators_it_was_built_for(
    tmp_path: Path, kind: str, version: str, gib: int
) -> None:
    (device, cpu), _, _ = probe_with_torch(tmp_path, version, FAKE_TORCH)
    assert cpu["kind"] == "cpu"
    assert (device["kind"], device["uuid"], device["name"]) == (kind, f"{kind}-u1", "Test GPU")
    assert (device["total_bytes"], device["free_bytes"]) == (gib * GIB, gib * GIB // 2)
    assert device["compute_capability"] == "gfx942"


def test_a_build_for_cuda_or_the_cpu_is_not_imported(tmp_path: Path) -> None:
    version = "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
    devices, _, imported = probe_with_torch(tmp_path, version, "raise SystemError('imported')")
    assert [device["kind"] for device in devices] == ["cpu"]
    assert not imported


def test_a_torch_that_cannot_be_imported_is_explained(tmp_path: Path) -> None:
    devices, unknown, _ = probe_with_torch(tmp_path, "hip = '7.0'", "raise OSError('libamdhip64')")
    assert [device["kind"] for device in devices] == ["cpu"]
    assert "libamdhip64" in unknown["rocm"]


def test_torch_is_not_asked_where_nvml_found_a_card(nvml: StubNvml, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/version.py").write_text("hip = '7.0'")
    (tmp_path / "torch/__init__.py").write_text("raise SystemError('imported')")
    env = nvml.env()
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    code = "from autotune.probe import probe_machine; print(len(probe_machine().devices))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "2\n", done.stderr
