"""Machines that exist only on paper."""

from __future__ import annotations

from autotune.records import Device, Host, Machine

GIB = 2**30

HOST = Host(
    os="Linux",
    arch="x86_64",
    cpu_name="AMD EPYC 9654",
    cpu_features=("avx2", "avx512f", "avx512_bf16"),
    logical_cores=16,
    usable_cores=8,
    ram_total_bytes=64 * GIB + 5,
    ram_available_bytes=60 * GIB,
    ram_limit_bytes=32 * GIB,
    swap_total_bytes=0,
    disk_free_bytes=100 * GIB,
    load_1m=0.5,
)
CPU = Device(
    kind="cpu", uuid="cpu", name="AMD EPYC 9654", total_bytes=32 * GIB, free_bytes=30 * GIB
)


def cuda(letter: str = "a", **values: object) -> Device:
    """A card whose UUID begins with that letter."""
    card = Device(
        kind="cuda",
        uuid=f"GPU-{letter * 8}-0000",
        name="NVIDIA H200",
        total_bytes=141 * GIB,
        free_bytes=100 * GIB,
        driver="580.65.06",
        cuda="13.2",
        compute_capability="9.0",
        pcie_generation=5,
        pcie_width=16,
        power_limit_w=700.0,
        ecc=True,
        mig=False,
    )
    return card.but(**values)


def machine(*devices: Device, unknown: dict[str, str] | None = None) -> Machine:
    """A machine with those devices, and its CPU."""
    software = {
        "python": "3.11.7",
        "torch": "2.13.0+cu130",
        "diffusers": "0.42.1",
        "optuna": "5.0.0",
    }
    return Machine(host=HOST, devices=(*devices, CPU), software=software, unknown=unknown or {})
