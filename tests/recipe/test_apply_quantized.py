"""A recipe that quantizes, on a pipeline that is loaded: only loading can set it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import RecipeMismatch
from autotune.recipe.apply import _describe
from autotune.trial.weights import stored_bytes
from tests.recipe.test_apply import recipe_for
from tests.tiny import tiny_flux

pytestmark = pytest.mark.trials


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("models") / "flux")


def load(folder: Path, **arguments: Any) -> Any:
    import diffusers

    return diffusers.FluxPipeline.from_pretrained(folder, **arguments)


def test_the_largest_text_encoder_of_a_loaded_pipeline_is_found_by_its_bytes(flux: Path) -> None:
    pipe = load(flux)
    model = _describe(pipe, recipe_for(flux))
    sizes = {part.name: part.weight_bytes for part in model.components}
    assert sizes["transformer"] == stored_bytes(pipe.transformer) > 0
    assert sizes["tokenizer"] == sizes["scheduler"] == 0
    assert model.text_encoders == ("text_encoder_2", "text_encoder")


@pytest.mark.parametrize(
    ("lever", "component"),
    [
        ("quantize_denoiser", "transformer: 0 of 30"),
        ("quantize_text_encoder", "text_encoder_2: 0 of 14"),
        ("quantize_other_encoders", "text_encoder: 0 of 12"),
        ("quantize_vae", "vae: 0 of 8"),
    ],
)
def test_what_only_loading_can_quantize_is_refused_by_name(
    flux: Path, lever: str, component: str
) -> None:
    name = lever.replace("_", "-")
    recipe = recipe_for(flux, **{lever: "torchao-int8wo"})
    with pytest.raises(RecipeMismatch) as caught:
        autotune.apply(load(flux), recipe)
    assert caught.value.message == (
        f"{name}=torchao-int8wo can only be set while loading, and this pipeline was loaded "
        f"without it ({component} Linears are quantized)"
    )
    assert "autotune.build(recipe)" in str(caught.value.hint)


def test_a_pipeline_that_build_has_quantized_takes_the_recipe_again(flux: Path) -> None:
    recipe = recipe_for(flux, quantize_denoiser="torchao-int8wo")
    pipe = autotune.build(recipe, model=str(flux), device="cpu")
    assert type(pipe.transformer.proj_out.weight).__name__ == "Int8Tensor"
    assert autotune.apply(pipe, recipe) is pipe
    with pytest.raises(RecipeMismatch, match="quantize-denoiser=none can only be set while"):
        autotune.apply(pipe, recipe_for(flux, quantize_denoiser="none"))
