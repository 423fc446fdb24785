"""From a recipe to a pipeline: what is set, and what is refused by name. Real tiny pipelines."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import BadRecipe, RecipeMismatch
from autotune.models.resolve import resolve
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.schema import Recipe, RecipeModel
from autotune.records import Workload
from tests.recipe.factory import make_recipe
from tests.tiny import tiny_flux, tiny_sd15

PLAIN = {
    "dtype": "fp32",
    "channels-last": "off",
    "vae-tiling": "off",
    "vae-slicing": "off",
    "attention": "native",
    "attention-slicing": "off",
}
WORKLOAD = Workload(height=256, width=256, steps=1)


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd15(tmp_path_factory.mktemp("models") / "sd15")


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("models") / "flux")


def recipe_for(folder: Path, **choices: str) -> Recipe:
    """A recipe that was measured here, with some choices changed."""
    model = resolve(str(folder))
    machine = probe_machine()
    return make_recipe(
        model=RecipeModel(
            id=model.id,
            revision=model.revision,
            source=model.source,
            pipeline=model.pipeline,
            weights=model.weights,
        ),
        workload=WORKLOAD,
        choices=PLAIN | {name.replace("_", "-"): id for name, id in choices.items()},
        fingerprint=fingerprint(machine, select_device(machine, "cpu")),
    )


def elsewhere(recipe: Recipe, section: str, **values: object) -> Recipe:
    """The recipe, measured on another machine."""
    known: Mapping[str, Any] = getattr(recipe.fingerprint, section)
    return recipe.but(fingerprint=recipe.fingerprint.but(**{section: {**known, **values}}))


def load(folder: Path, **arguments: Any) -> Any:
    import diffusers

    return diffusers.DiffusionPipeline.from_pretrained(folder, **arguments)


# --------------------------------------------------------------------------------------- build


def test_build_loads_the_model_with_every_choice_in_it(sd15: Path) -> None:
    import torch

    recipe = recipe_for(sd15, dtype="bf16", vae_tiling="half", channels_last="denoiser+vae")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the machine is exactly the one of the recipe
        pipe = autotune.build(recipe, model=str(sd15), device="cpu")
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert pipe.unet.dtype is pipe.vae.dtype is torch.bfloat16
    assert pipe.vae.use_tiling
    assert pipe.vae.tile_sample_min_size == 128
    assert pipe.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    picture = pipe("a", height=64, width=64, num_inference_steps=1, output_type="np").images[0]
    assert picture.shape == (64, 64, 3)


def test_build_refuses_another_revision_with_both(sd15: Path, tmp_path: Path) -> None:
    recipe = recipe_for(sd15)
    changed = Path(shutil.copytree(sd15, tmp_path / "changed"))
    config = changed / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "steps_offset": 2}))
    with pytest.raises(RecipeMismatch) as caught:
        autotune.build(recipe, model=str(changed), device="cpu")
    assert recipe.model.revision in caught.value.message
    assert resolve(str(changed)).revision in caught.value.message
    assert "allow_mismatch=True" in str(caught.value.hint)
    assert autotune.build(recipe, model=str(changed), device="cpu", allow_mismatch=True)


def test_build_never_guesses_where_a_local_folder_is(sd15: Path) -> None:
    with pytest.raises(RecipeMismatch, match="made from a local folder") as caught:
        autotune.build(recipe_for(sd15), device="cpu")
    assert "--model FOLDER" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"attention_slicing": "max"}, "attention-slicing=max cannot be set here: Flux"),
        ({"vae_slicing": "on"}, "vae-slicing=on cannot be set here: nothing to split"),
        ({"attention": "native-cudnn"}, "attention=native-cudnn cannot be set here: needs an"),
    ],
)
def test_build_refuses_a_choice_that_cannot_be_had_here(
    flux: Path, choices: dict[str, str], message: str
) -> None:
    with pytest.raises(RecipeMismatch, match=message):
        autotune.build(recipe_for(flux, **choices), model=str(flux), device="cpu")


def test_build_refuses_a_choice_that_is_not_installed_with_a_close_one(sd15: Path) -> None:
    with pytest.raises(BadRecipe, match="'bf61' is not a choice of the lever dtype") as caught:
        autotune.build(recipe_for(sd15, dtype="bf61"), model=str(sd15), device="cpu")
    assert "bf16" in str(caught.value.hint)
    with pytest.raises(BadRecipe, match="'quantization' is not a lever"):
        autotune.build(recipe_for(sd15, quantization="int8"), model=str(sd15), device="cpu")


def test_build_refuses_what_todays_rules_exclude(flux: Path) -> None:
    with pytest.raises(RecipeMismatch, match=r"chooses dtype=fp16, which does not work: Flux\.1"):
        autotune.build(recipe_for(flux, dtype="fp16"), model=str(flux), device="cpu")


# ------------------------------------------------------------------------------- other machines


@pytest.mark.parametrize(
    ("section", "values", "named"),
    [
        ("device", {"name": "Another CPU"}, "device.name"),
        ("device", {"total_bytes": 1 << 50}, "device.total_bytes"),
        ("software", {"torch": "1.13.0"}, "software.torch"),
        ("host", {"usable_cores": 512}, "host.usable_cores"),
    ],
)
def test_a_recipe_of_a_machine_too_different_is_refused_with_what_differs(
    sd15: Path, section: str, values: dict[str, object], named: str
) -> None:
    recipe = elsewhere(recipe_for(sd15), section, **values)
    sentence = f"does not hold on this machine: {named} was {next(iter(values.values()))}, here it"
    with pytest.raises(RecipeMismatch, match=sentence) as caught:
        autotune.build(recipe, model=str(sd15), device="cpu")
    assert "allow_mismatch=True" in str(caught.value.hint)
    with pytest.warns(UserWarning, match=named):
        autotune.build(recipe, model=str(sd15), device="cpu", allow_mismatch=True)


def test_a_recipe_that_needs_more_than_the_device_has_is_refused(sd15: Path) -> None:
    recipe = recipe_for(sd15)
    winner = recipe.evidence.winner.but(peak_bytes=1 << 49)
    with pytest.raises(RecipeMismatch, match=r"the recipe needs 512\.00 TiB, and"):
        autotune.build(
            recipe.but(evidence=recipe.evidence.but(winner=winner)), model=str(sd15), device="cpu"
        )


def test_a_recipe_of_nearly_this_machine_is_used_with_a_warning_at_the_callers_line(
    sd15: Path,
) -> None:
    recipe = elsewhere(recipe_for(sd15), "software", accelerate="0.0.1", python="3.11.0")
    with pytest.warns(UserWarning, match="measured elsewhere.*accelerate") as caught:
        autotune.build(recipe, model=str(sd15), device="cpu")
    ours = [one for one in caught if "measured elsewhere" in str(one.message)]
    assert [one.filename for one in ours] == [__file__]


# --------------------------------------------------------------------------------------- apply


def state_of(pipe: Any) -> dict[str, object]:
    return {
        "tiling": (pipe.vae.use_tiling, pipe.vae.tile_sample_min_size),
        "slicing": pipe.vae.use_slicing,
        "processors": sorted(type(one).__name__ for one in pipe.unet.attn_processors.values()),
        "strides": [tuple(one.stride()) for one in pipe.unet.parameters()],
    }


def test_apply_sets_what_can_be_set_and_gives_the_same_pipeline_back(sd15: Path) -> None:
    pipe = load(sd15)
    before = state_of(pipe)
    recipe = recipe_for(
        sd15,
        vae_tiling="half",
        channels_last="denoiser",
        attention_slicing="max",
        vae_slicing="on",
    )
    assert autotune.apply(pipe, recipe) is pipe
    after = state_of(pipe)
    assert after["tiling"] == (True, 128)
    assert after["slicing"] is True
    assert after["processors"] == ["SlicedAttnProcessor"] * len(pipe.unet.attn_processors)
    assert after["strides"] != before["strides"]


def test_applying_twice_is_applying_once_and_the_plain_recipe_takes_it_back(sd15: Path) -> None:
    pipe = load(sd15)
    plain = state_of(pipe)
    recipe = recipe_for(sd15, vae_tiling="quarter", channels_last="vae", attention_slicing="auto")
    once = state_of(autotune.apply(pipe, recipe))
    assert state_of(autotune.apply(pipe, recipe)) == once
    back = state_of(autotune.apply(pipe, recipe_for(sd15)))
    assert back["tiling"][0] is False  # type: ignore[index]
    assert (back["processors"], back["strides"]) == (plain["processors"], plain["strides"])


def test_apply_refuses_by_name_what_only_loading_can_set_and_sets_nothing(sd15: Path) -> None:
    pipe = load(sd15)
    before = state_of(pipe)
    with pytest.raises(RecipeMismatch, match="dtype=bf16 can only be set while loading") as caught:
        autotune.apply(pipe, recipe_for(sd15, dtype="bf16", vae_tiling="half"))
    assert "float32" in caught.value.message
    assert "autotune.build(recipe)" in str(caught.value.hint)
    assert state_of(pipe) == before


def test_apply_takes_a_pipeline_that_was_loaded_as_the_recipe_says(sd15: Path) -> None:
    import torch

    pipe = load(sd15, dtype=torch.bfloat16)
    autotune.apply(pipe, recipe_for(sd15, dtype="bf16", vae_tiling="half"))
    assert pipe.vae.use_tiling


def test_apply_refuses_a_pipeline_of_another_class(sd15: Path, flux: Path) -> None:
    with pytest.raises(RecipeMismatch, match="for FluxPipeline, this is StableDiffusionPipeline"):
        autotune.apply(load(sd15), recipe_for(flux))


def test_apply_refuses_a_choice_that_this_pipeline_does_not_take(flux: Path) -> None:
    with pytest.raises(RecipeMismatch, match="attention-slicing=max cannot be set on this pip"):
        autotune.apply(load(flux), recipe_for(flux, attention_slicing="max"))


def test_apply_refuses_a_pipeline_that_is_offloaded_in_another_way(sd15: Path) -> None:
    pipe = load(sd15)
    pipe.enable_model_cpu_offload(device="cpu")
    with pytest.raises(RecipeMismatch) as caught:
        autotune.apply(pipe, recipe_for(sd15, offload="none"))
    assert caught.value.message == (
        "offload=none cannot be set on this pipeline: the pipeline is offloaded in another way "
        "already: vae (model), text_encoder (model), unet (model)"
    )
    assert "load the pipeline again" in str(caught.value.hint)
    assert autotune.apply(pipe, recipe_for(sd15, offload="model")) is pipe


def test_apply_refuses_a_recipe_of_a_machine_too_different(sd15: Path) -> None:
    recipe = elsewhere(recipe_for(sd15), "device", name="Another CPU")
    with pytest.raises(RecipeMismatch, match=r"device\.name was Another CPU, here it is"):
        autotune.apply(load(sd15), recipe)


def test_apply_refuses_what_is_no_pipeline() -> None:
    with pytest.raises(RecipeMismatch, match="this is dict"):
        autotune.apply({}, make_recipe(), allow_mismatch=False)
