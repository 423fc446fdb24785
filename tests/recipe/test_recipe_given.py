"""Recipes whose choices are made of a file that was given: known by content, never by path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import BadInput, BadRecipe, RecipeMismatch
from autotune.models.given import give, look_at
from autotune.models.resolve import resolve
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.read import parse_recipe
from autotune.recipe.schema import Recipe, RecipeGiven, RecipeModel
from autotune.recipe.write import render_recipe
from autotune.records import Workload
from autotune.report.recipe import explanation
from tests.checkpoints import write_gguf, write_tiny_vae
from tests.recipe.factory import make_document, make_recipe, sign
from tests.tiny import tiny_flux

DIGEST = f"sha256:{'0' * 64}"
PLAIN = {"dtype": "fp32", "checkpoint": "gguf", "vae-model": "own"}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture(scope="module")
def eight(flux: Path) -> Path:
    return write_gguf(flux.parent / "eight.gguf", flux / "transformer", "Q8_0")


@pytest.fixture(scope="module")
def four(flux: Path) -> Path:
    return write_gguf(flux.parent / "four.gguf", flux / "transformer", "Q4_0")


def recipe_for(folder: Path, *files: Path, **choices: str) -> Recipe:
    """A recipe that was measured here with these files for the denoiser."""
    model = resolve(str(folder))
    machine = probe_machine()
    given = [give(model, look_at({"denoiser": file})).given[0] for file in files]
    return make_recipe(
        model=RecipeModel(
            id=model.id,
            revision=model.revision,
            source=model.source,
            pipeline=model.pipeline,
            weights=model.weights,
            given=tuple(
                RecipeGiven(component=one.component, kind=one.kind, digest=one.digest)
                for one in given
            ),
        ),
        workload=Workload(height=64, width=64, steps=1),
        choices=PLAIN | {name.replace("_", "-"): id for name, id in choices.items()},
        fingerprint=fingerprint(machine, select_device(machine, "cpu")),
    )


def digest_of(path: Path) -> str:
    return look_at({"x": path})["x"].digest


# ---------------------------------------------------------------------------------- the file


def with_given(given: object) -> bytes:
    document: Any = make_document()
    document["model"]["given"] = given
    return sign(document)


def test_a_recipe_from_before_there_were_checkpoints_is_read() -> None:
    document: Any = make_document()
    del document["model"]["given"]
    recipe = parse_recipe(sign(document))
    assert recipe.model.given == ()
    assert recipe == make_recipe()
    assert parse_recipe(render_recipe(recipe)) == recipe


def test_what_was_given_is_written_and_read_alike() -> None:
    model = make_recipe().model
    given = RecipeGiven(component="transformer", kind="gguf", digest=DIGEST)
    recipe = make_recipe(model=model.but(given=(given,)))
    data = render_recipe(recipe)
    assert parse_recipe(data) == recipe
    assert render_recipe(parse_recipe(data)) == data
    assert json.loads(data)["model"]["given"] == [
        {"component": "transformer", "digest": DIGEST, "kind": "gguf"}
    ]
    assert f"given:    transformer from a gguf file, {DIGEST[:19]}" in explanation(recipe, "x")


@pytest.mark.parametrize(
    "given",
    [
        [{"component": "transformer", "kind": "gguf", "digest": DIGEST, "path": "/mnt/x.gguf"}],
        [{"component": "../vae", "kind": "gguf", "digest": DIGEST}],
        [{"component": "transformer", "kind": "pickle", "digest": DIGEST}],
        [{"component": "transformer", "kind": "gguf", "digest": "/mnt/x.gguf"}],
        [{"component": "transformer", "kind": "gguf", "digest": "sha256:" + "0" * 63}],
        [{"component": "transformer", "kind": "gguf"}],
        [{"component": "transformer", "kind": "gguf", "digest": DIGEST}] * 17,
        {"transformer": DIGEST},
        [DIGEST],
        None,
    ],
)
def test_nothing_but_component_kind_and_digest_can_be_said(given: object) -> None:
    with pytest.raises(BadRecipe):
        parse_recipe(with_given(given))


# ------------------------------------------------------------------------------------- build


def linears(pipe: Any) -> set[str]:
    return {type(module).__name__ for module in pipe.transformer.modules()}


def test_build_takes_the_same_file_wherever_it_lies(
    flux: Path, eight: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere.gguf"
    moved.write_bytes(eight.read_bytes())
    recipe = recipe_for(flux, eight)
    pipe = autotune.build(
        recipe, model=str(flux), device="cpu", checkpoints={"transformer": moved}
    )
    assert "GGUFLinear" in linears(pipe)


def test_build_without_the_file_is_refused_with_its_digest(flux: Path, eight: Path) -> None:
    with pytest.raises(RecipeMismatch) as refused:
        autotune.build(recipe_for(flux, eight), model=str(flux), device="cpu")
    assert f"it was gguf {digest_of(eight)}, here it is none" in refused.value.message
    assert "checkpoints=" in str(refused.value.hint)
    with pytest.raises(RecipeMismatch, match="no GGUF file of the denoiser was given"):
        autotune.build(recipe_for(flux, eight), model=str(flux), device="cpu", allow_mismatch=True)


def test_build_with_another_file_is_refused_with_both_digests(
    flux: Path, eight: Path, four: Path
) -> None:
    recipe, given = recipe_for(flux, eight), {"denoiser": four}
    with pytest.raises(RecipeMismatch) as refused:
        autotune.build(recipe, model=str(flux), device="cpu", checkpoints=given)
    assert digest_of(eight) in refused.value.message
    assert digest_of(four) in refused.value.message
    pipe = autotune.build(
        recipe, model=str(flux), device="cpu", checkpoints=given, allow_mismatch=True
    )
    assert "GGUFLinear" in linears(pipe)


def test_a_recipe_that_does_not_say_which_file_is_refused(flux: Path, eight: Path) -> None:
    with pytest.raises(RecipeMismatch, match="it does not say which"):
        autotune.build(
            recipe_for(flux), model=str(flux), device="cpu", checkpoints={"denoiser": eight}
        )


def test_a_recipe_that_needs_no_file_does_not_ask_for_one(flux: Path, eight: Path) -> None:
    recipe = recipe_for(flux, eight, checkpoint="own")
    pipe = autotune.build(recipe, model=str(flux), device="cpu")
    assert "GGUFLinear" not in linears(pipe)
    assert autotune.build(recipe, model=str(flux), device="cpu", checkpoints={"denoiser": eight})


def test_build_looks_at_the_path_before_anything_is_loaded(flux: Path, eight: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: no such file"):
        autotune.build(
            recipe_for(flux, eight), model="/nowhere", checkpoints={"denoiser": "/no.gguf"}
        )


# ------------------------------------------------------------------------------------- apply


def test_apply_takes_a_pipeline_loaded_from_the_same_file(
    flux: Path, eight: Path, four: Path
) -> None:
    recipe = recipe_for(flux, eight)
    pipe = autotune.build(recipe, model=str(flux), device="cpu", checkpoints={"denoiser": eight})
    assert autotune.apply(pipe, recipe, checkpoints={"denoiser": eight}) is pipe
    with pytest.raises(RecipeMismatch, match="here it is none"):
        autotune.apply(pipe, recipe)
    with pytest.raises(RecipeMismatch, match=digest_of(four)):
        autotune.apply(pipe, recipe, checkpoints={"denoiser": four})
    assert autotune.apply(pipe, recipe, allow_mismatch=True) is pipe


def test_apply_does_not_take_the_callers_word_for_it(flux: Path, eight: Path) -> None:
    import diffusers

    pipe = diffusers.FluxPipeline.from_pretrained(flux)
    for given in ({"denoiser": eight}, {}):
        with pytest.raises(RecipeMismatch, match="checkpoint=gguf can only be set while loading"):
            autotune.apply(pipe, recipe_for(flux, eight), checkpoints=given, allow_mismatch=True)


def test_apply_knows_a_tiny_vae_from_the_models_own(flux: Path, tmp_path: Path) -> None:
    import diffusers

    write_tiny_vae(tmp_path / "tiny")
    own = recipe_for(flux, checkpoint="own")
    pipe = diffusers.FluxPipeline.from_pretrained(flux)
    assert autotune.apply(pipe, own) is pipe
    pipe.vae = diffusers.AutoencoderTiny.from_pretrained(tmp_path / "tiny")
    with pytest.raises(RecipeMismatch, match="vae-model=own can only be set while loading"):
        autotune.apply(pipe, own)


# ----------------------------------------------------------------------------------- a study


@pytest.mark.trials
def test_a_study_with_a_file_gives_a_recipe_that_recognises_it(
    flux: Path, eight: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {
        "vram": "2GB",
        "device": "cpu",
        "trials": 1,
        "workload": {"height": 64, "width": 64, "steps": 1},
        "fix": {"checkpoint": "gguf", "dtype": "bf16"},
        "runs": tmp_path,
        "engine": "debug",
    }
    with pytest.raises(BadInput, match="no GGUF file of the denoiser was given"):
        autotune.suggest(str(flux), **arguments)
    result = autotune.suggest(str(flux), checkpoints={"denoiser": eight}, **arguments)
    assert result.recipe is not None
    assert result.recipe_path is not None
    assert [one.digest for one in result.recipe.model.given] == [digest_of(eight)]
    assert "gguf" in result.recipe.evidence.winner.engaged["checkpoint"].detail
    written = result.recipe_path.read_text()
    assert str(eight.parent) not in written
    assert eight.name not in written
    pipe = autotune.build(
        result.recipe_path, model=str(flux), device="cpu", checkpoints={"denoiser": eight}
    )
    assert "GGUFLinear" in linears(pipe)
