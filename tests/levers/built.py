"""A tiny pipeline with some choices in it, and one observed generation."""

from __future__ import annotations

from typing import Any

from autotune.estimate.plan import plan_of
from autotune.levers import load_levers
from autotune.levers.base import Target
from autotune.levers.plan import Plan
from autotune.records import Device, Evidence, Model, Workload
from autotune.trial import clock, generate, output
from autotune.trial.memory import make_meter
from tests.trial.bench import CPU, SMALL, fitted, tiny_model


def card(capability: str | None = "8.9", kind: Any = "cuda") -> Device:
    """A device that is not there."""
    return Device(
        kind=kind,
        uuid="u",
        name="n",
        total_bytes=1,
        free_bytes=1,
        compute_capability=capability,
    )


def built(pipeline: str, workload: Workload = SMALL, **choices: str) -> Target:
    """The tiny pipeline with these choices (underscores for dashes), on the CPU."""
    model = tiny_model(pipeline)
    target = Target(model=model, device=CPU, workload=fitted(pipeline, workload))
    generate.build_pipeline(target, named(choices))
    return target


def observed(target: Target, **choices: str) -> Any:
    """The picture of one observed generation; what was seen lies in the target afterwards."""
    watched = generate.watched(target, named(choices))
    with clock.observing(target, make_meter(CPU), lambda: None, lambda _: None, watched) as seen:
        result = generate.caller(target.pipe, target.workload, target.multiple)(0)
    target.seen = seen.seen
    picture = output.picture_of(result)
    assert output.problem_of(picture, result) is None
    return picture


def proof(target: Target, lever: str, choice: str) -> Evidence:
    """What the lever says of the target."""
    return load_levers()[lever].engaged(target, choice)


def reasons(lever: str, device: Device, view: Any = None) -> dict[str, str | None]:
    """By choice, why it cannot be had."""
    return {one.id: one.unavailable for one in load_levers()[lever].choices(device, view)}


def planned(model: Model | str, device: Device | None = None, **choices: str) -> Plan:
    """What these choices make of the model (or the tiny pipeline of that name), on a card."""
    record = tiny_model(model) if isinstance(model, str) else model
    return plan_of(record, device or card(), named(choices))


def with_twin(model: Model) -> Model:
    """The model with a second denoiser of the same class."""
    own = model.component(model.denoiser)
    assert own is not None
    return model.but(components=(*model.components, own.but(name=f"{own.name}_2")))


def named(choices: dict[str, str]) -> dict[str, str]:
    """Levers by their real names."""
    return {lever.replace("_", "-"): choice for lever, choice in choices.items()}
