"""What a candidate makes of a model: every lever is asked, in the order of application."""

from __future__ import annotations

import pytest

from autotune.estimate.plan import plan_of
from autotune.levers import load_levers
from autotune.levers.plan import Part, Place, Plan
from autotune.records import Component, Model, Workload
from tests.levers.built import card

DEVICE = card()
WORKLOAD = Workload(height=256, width=256, batch=2)


def component(name: str, dtype: str | None = "bf16", parameters: int = 1000) -> Component:
    return Component(
        name=name,
        library="diffusers",
        class_name=f"{name.title()}Model",
        weight_bytes=2 * parameters,
        parameters=parameters,
        dtype=dtype,
    )


def model(*others: Component) -> Model:
    return Model(
        id="a-model",
        revision="r",
        source="folder",
        folder="/nowhere",
        pipeline="FluxPipeline",
        family="flux",
        weights="real",
        denoiser="transformer",
        components=(component("transformer"), component("text_encoder"), *others),
        workload=WORKLOAD,
    )


def test_without_a_choice_everything_lies_on_the_device_as_it_is_stored() -> None:
    plan = plan_of(model(component("vae", "fp32")), DEVICE, {})
    assert plan == Plan(
        model=model(component("vae", "fp32")),
        device=DEVICE,
        workload=WORKLOAD,
        parts={
            "transformer": Part(dtype="bf16"),
            "text_encoder": Part(dtype="bf16"),
            "vae": Part(dtype="fp32"),
        },
    )
    assert {part.place for part in plan.parts.values()} == {Place.DEVICE}


@pytest.mark.parametrize("stored", [None, "fp8", "int8"])
def test_a_format_that_torch_does_not_compute_in_becomes_fp32(stored: str | None) -> None:
    assert plan_of(model(component("vae", stored)), DEVICE, {}).parts["vae"].dtype == "fp32"


def test_what_has_no_weights_is_no_part() -> None:
    plan = plan_of(model(component("tokenizer", None, parameters=0)), DEVICE, {})
    assert plan.parts.keys() == {"transformer", "text_encoder"}


def test_levers_are_asked_in_the_order_of_application_whatever_the_candidates_is() -> None:
    choices = {
        "offload": "group-block-stream",
        "text-encoders": "host",
        "vae-dtype": "fp32",
        "dtype": "fp16",
    }
    plan = plan_of(model(component("vae")), DEVICE, choices)
    assert plan == plan_of(model(component("vae")), DEVICE, dict(reversed(choices.items())))
    assert plan.parts == {
        "transformer": Part(dtype="fp16", place=Place.BLOCKS, at_once=1, ahead=True),
        "text_encoder": Part(dtype="fp16", place=Place.HOST),
        "vae": Part(dtype="fp32"),
    }


def test_what_levers_say_of_different_things_comes_together() -> None:
    choices = {"batch": "x4", "vae-slicing": "on", "vae-tiling": "half", "fuse-qkv": "on"}
    choices |= {"compile": "regional", "compile-vae": "on", "cache": "pab-2"}
    start = plan_of(model(), DEVICE, {})
    assert plan_of(model(), DEVICE, choices) == start.but(
        multiple=4,
        sliced=True,
        tiling="half",
        fused=True,
        compiled=frozenset({"transformer", "vae"}),
        kept_per_block=1.0,
    )


def test_levers_without_a_plan_and_levers_that_are_not_known_change_nothing() -> None:
    silent = {name for name, lever in load_levers().items() if not hasattr(lever, "plan")}
    assert "cudnn-benchmark" in silent
    choices = dict.fromkeys(silent | {"a-lever-of-somebody-else"}, "on")
    assert plan_of(model(), DEVICE, choices) == plan_of(model(), DEVICE, {})


def test_a_part_that_is_not_there_is_not_made() -> None:
    plan = plan_of(model(), DEVICE, {})
    assert plan.with_parts(["vae", "transformer_2"], dtype="fp32") == plan
    assert plan.with_parts(["transformer"], cast=True).parts["transformer"].cast
    assert not plan.parts["transformer"].cast
