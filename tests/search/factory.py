"""Spaces, models and requests for tests of the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autotune.probe.fingerprint import fingerprint
from autotune.records import Choice, Component, Device, Fidelity, Host, Machine, Model, Workload
from autotune.search.definition import Definition
from autotune.search.request import Request
from autotune.search.space import Space, build_space

#: Lever by lever, the first choice is the baseline.
LEVERS: Mapping[str, Sequence[str]] = {
    "dtype": ("bf16", "fp32", "fp16"),
    "attention": ("native", "native-flash", "native-math"),
    "vae-tiling": ("off", "half", "quarter"),
}
BASELINE = {lever: ids[0] for lever, ids in LEVERS.items()}


def make_choices(
    levers: Mapping[str, Sequence[str]] = LEVERS, unavailable: Mapping[str, str] | None = None
) -> tuple[Choice, ...]:
    """All choices of some levers; ``unavailable`` maps ``lever=choice`` to the reason."""
    reasons = unavailable or {}
    return tuple(
        Choice(
            lever=lever,
            id=id,
            what=f"{lever} {id}",
            baseline=number == 0,
            unavailable=reasons.get(f"{lever}={id}"),
        )
        for lever, ids in levers.items()
        for number, id in enumerate(ids)
    )


def make_space(levers: Mapping[str, Sequence[str]] = LEVERS) -> Space:
    """The space of all choices."""
    return build_space(make_choices(levers), Definition(levers=dict.fromkeys(levers, "all")), {})


def make_device(**changes: object) -> Device:
    """A processor of 8 GiB."""
    device = Device(kind="cpu", uuid="cpu", name="A CPU", total_bytes=8 << 30, free_bytes=6 << 30)
    return device.but(**changes)


def make_machine(device: Device) -> Machine:
    """A small host with one device."""
    host = Host(
        os="Linux",
        arch="x86_64",
        cpu_name="A CPU",
        logical_cores=2,
        usable_cores=2,
        ram_total_bytes=8 << 30,
        ram_available_bytes=6 << 30,
        ram_limit_bytes=None,
        swap_total_bytes=0,
        disk_free_bytes=1 << 40,
        load_1m=0.0,
    )
    software = {"torch": "2.13.0", "diffusers": "0.42.1", "python": "3.11.7"}
    return Machine(host=host, devices=(device,), software=software)


def make_model(**changes: object) -> Model:
    """A small transformer model with random weights."""
    model = Model(
        id="demo",
        revision="sha256:4e5c60",
        source="demo",
        folder="/nowhere",
        pipeline="FluxPipeline",
        family="demo",
        weights="random",
        denoiser="transformer",
        components=(
            Component(
                name="transformer",
                library="diffusers",
                class_name="FluxTransformer2DModel",
                weight_bytes=2_000_000,
                parameters=1_000_000,
                dtype="bf16",
            ),
        ),
        workload=Workload(height=256, width=256, steps=4),
    )
    return model.but(**changes)


def make_request(folder: Path, **changes: Any) -> Request:
    """A request for 12 trials under 120 MB, with some fields changed."""
    device = changes.pop("device", make_device())
    machine = make_machine(device)
    budget = changes.pop("budget_bytes", 120_000_000)
    fields: dict[str, Any] = {
        "model": make_model(),
        "machine": machine,
        "device": device,
        "fingerprint": fingerprint(machine, device),
        "budget_asked": f"{budget // 1_000_000}MB",
        "budget_bytes": budget,
        "emulated": True,
        "definition": Definition(levers=dict.fromkeys(LEVERS, "all")),
        "quality": Fidelity.ANY,
        "ram_bytes": None,
        "pins": {},
        "trials": 12,
        "time_s": None,
        "seed": 0,
        "folder": folder,
        "recipe_path": folder / "recipe.json",
        "overwrite": False,
    }
    return Request(**{**fields, **changes})
