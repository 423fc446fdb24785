"""offload: where it plans every component to lie, against what it asks of diffusers."""

from __future__ import annotations

import pytest

from autotune.levers import offload
from autotune.levers.mechanisms import streaming
from autotune.levers.plan import Place, Plan
from tests.levers.built import card, planned, with_twin
from tests.trial.bench import tiny_model

pytestmark = pytest.mark.trials

OTHERS = [one.id for one in offload.choices(card(), None) if one.id != "none"]
DENOISERS = {"transformer", "transformer_2"}
ENCODERS = {"text_encoder", "text_encoder_2"}
EVERYTHING = DENOISERS | ENCODERS | {"vae"}


def placed(plan: Plan) -> dict[Place, set[str]]:
    """By place, the components there; what stays on the device is left out."""
    found: dict[Place, set[str]] = {}
    for name, part in plan.parts.items():
        if part.place is not Place.DEVICE:
            found.setdefault(part.place, set()).add(name)
    return found


@pytest.mark.parametrize("choice", ["none", *OTHERS])
def test_each_choice_plans_where_every_component_lies(choice: str) -> None:
    pieces = Place.LEAVES if "leaf" in choice else Place.BLOCKS
    wanted = {
        "none": {},
        "model": {Place.SWAPPED: EVERYTHING},
        "staged": {Place.STAGED: EVERYTHING},
        "sequential": {Place.LEAVES: EVERYTHING},
    }.get(choice, {Place.LEAVES: ENCODERS} | {pieces: DENOISERS})
    if choice not in ("none", "model", "staged", "sequential") and pieces is Place.LEAVES:
        wanted = {pieces: DENOISERS | ENCODERS}
    model = with_twin(tiny_model("flux"))
    found = planned(model, offload=choice)
    assert placed(found) == wanted
    assert (found == planned(model)) is (choice == "none")


@pytest.mark.parametrize("choice", [*streaming.GROUPS, *streaming.SHARES])
def test_what_is_streamed_is_planned_as_it_is_asked_of_diffusers(choice: str) -> None:
    parts = planned("flux", offload=choice).parts
    denoiser, encoder = parts["transformer"], parts["text_encoder_2"]
    asked = streaming.encoder_arguments(choice, use_stream=True)
    assert encoder.ahead is asked["use_stream"]
    assert denoiser.ahead is encoder.ahead
    assert denoiser.share == streaming.SHARES.get(choice, 0.0)
    if denoiser.place is Place.BLOCKS:
        how = streaming.GROUPS.get(choice, {})
        # Of a share the blocks come layer by layer.
        assert denoiser.at_once == how.get("num_blocks_per_group", 0)
    assert encoder.share == 0.0


def test_what_is_only_read_may_stay_in_its_file() -> None:
    found = {
        choice: {
            name for name, part in planned("flux", offload=choice).parts.items() if part.from_disk
        }
        for choice in OTHERS
    }
    assert {choice: parts for choice, parts in found.items() if parts} == {
        "sequential": {"transformer", *ENCODERS, "vae"},
        "group-leaf-stream-lean": {"transformer", *ENCODERS},
        "group-disk": {"transformer"},
    }


@pytest.mark.parametrize("choice", OTHERS)
@pytest.mark.parametrize(("where", "place"), [("host", "host"), ("precomputed", "gone")])
def test_encoders_that_are_elsewhere_are_not_planned_here(
    choice: str, where: str, place: str
) -> None:
    parts = planned("flux", offload=choice, text_encoders=where).parts
    assert {parts[name].place for name in ENCODERS} == {Place(place)}
    assert parts["transformer"].place is not Place.DEVICE


@pytest.mark.parametrize("choice", [*streaming.GROUPS, *streaming.SHARES])
def test_an_encoder_that_fails_by_layer_is_planned_as_a_whole(choice: str) -> None:
    model = tiny_model("flux")
    parts = tuple(
        part.but(class_name="Qwen3VLModel") if part.name == "text_encoder_2" else part
        for part in model.components
    )
    found = planned(model.but(components=parts), offload=choice).parts
    assert found["text_encoder_2"].place is Place.STAGED
    assert found["text_encoder"].place is Place.LEAVES


def test_what_is_neither_streamed_nor_an_exception_stays_on_the_device_or_comes_whole() -> None:
    model = tiny_model("sd15")
    vae = model.component("vae")
    assert vae is not None
    extra = (vae.but(name="image_encoder"), vae.but(name="safety_checker"))
    model = model.but(components=(*model.components, *extra))
    grouped = planned(model, offload="group-block-stream").parts
    assert {grouped[name].place for name in ("image_encoder", "safety_checker", "vae")} == {
        Place.DEVICE
    }
    for choice in ("model", "staged", "sequential"):
        parts = planned(model, offload=choice).parts
        assert parts["image_encoder"].place is parts["unet"].place is not Place.DEVICE
        assert parts["safety_checker"].place is Place.DEVICE


def test_stable_diffusion_keeps_its_safety_checker_out_of_offloading() -> None:
    import diffusers

    assert diffusers.StableDiffusionPipeline._exclude_from_cpu_offload == ["safety_checker"]
    assert diffusers.FluxPipeline._exclude_from_cpu_offload == []
