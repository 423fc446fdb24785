"""A recipe as something to be used without autotune: a script, or environment variables.

It is made from the recipe, and from what is known of its model without reading any weight. Nothing
is run, so neither torch nor diffusers need be installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from autotune.errors import BadInput, BadRecipe, NoResult, RecipeMismatch, shorten
from autotune.files import cache_folder
from autotune.levers.script import Expression, Name, Script
from autotune.models.catalog import find, find_pipeline
from autotune.models.demo.build import BUILD
from autotune.models.given import look_at, name_components
from autotune.models.published import planned_model
from autotune.models.resolve import resolve
from autotune.recipe.apply import check_given
from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from autotune.recipe.told import tell
from autotune.recipe.written import written_environment, written_script
from autotune.records import DeviceKind, Model

FORMS = ("python", "env")
#: ROCm builds of torch answer under the name "cuda".
_TORCH_NAMES = {"rocm": "cuda"}
_INSTEAD = "autotune.build(recipe) loads the pipeline with everything in it"


def export(
    recipe: Recipe | str | Path,
    to: str = "python",
    *,
    model: str | None = None,
    checkpoints: Mapping[str, str | Path] | None = None,
) -> str:
    """Turn a recipe into something that needs no autotune.

    Args:
        recipe: A recipe or its path.
        to: ``python`` is a script of plain diffusers code, ``env`` are environment variables.
        model: Where the model is; needed when the recipe was made from a local folder, or when
            what the model is made of is not known here.
        checkpoints: As for ``build``.

    Raises:
        NoResult: If a choice cannot be told in plain diffusers code, with its name and why.
    """
    if to not in FORMS:
        raise BadInput(
            f"a recipe cannot be exported to {shorten(to)}", hint=f"--to {' or '.join(FORMS)}"
        )
    if not isinstance(recipe, Recipe):
        recipe = read_recipe(Path(recipe))
    if to == "env":
        # What the environment has to say depends on no component.
        told = tell(_start(recipe, _bare(recipe)), recipe.choices)
        return written_environment(recipe, told)
    found = _model_of(recipe, model, checkpoints or {})
    told = tell(_start(recipe, found), recipe.choices)
    if told.refused:
        reasons = "; ".join(f"{choice}: {reason}" for choice, reason in told.refused.items())
        raise NoResult(f"it cannot be told in plain diffusers code: {reasons}", hint=_INSTEAD)
    return written_script(recipe, told, _place_of(found, model))


def _start(recipe: Recipe, model: Model) -> Script:
    kind = str(recipe.fingerprint.device.get("kind"))
    if kind not in get_args(DeviceKind):  # it is about to become code
        raise BadRecipe(
            f"the recipe was measured on {shorten(kind)}, which is no kind of device",
            hint="use the file as `autotune suggest` wrote it",
        )
    return Script(model=model, workload=recipe.workload, device=_TORCH_NAMES.get(kind, kind))


def _model_of(recipe: Recipe, given: str | None, checkpoints: Mapping[str, str | Path]) -> Model:
    """What the recipe's model is made of, as it lies here or as the catalogue knows it.

    Raises:
        RecipeMismatch: If it is not known, or the one given is another.
    """
    looked = look_at(checkpoints)
    found = resolve(given, allow_download=False) if given is not None else _known(recipe)
    if found.pipeline != recipe.model.pipeline or (
        given is not None and found.revision != recipe.model.revision
    ):
        raise RecipeMismatch(
            f"the recipe is for {recipe.model.id} ({recipe.model.pipeline}) at "
            f"{recipe.model.revision}, this is {found.id} ({found.pipeline}) at {found.revision}",
            hint="name the model that was measured",
        )
    found = found.but(
        source=found.source if given is not None else recipe.model.source,
        workload=recipe.workload,
        given=name_components(found, looked),
    )
    if looked:
        _check_files(recipe, found)
    return found


def _check_files(recipe: Recipe, found: Model) -> None:
    try:
        check_given(recipe, found.given, allow_mismatch=False)
    except RecipeMismatch as error:
        hint = "--checkpoint COMPONENT=PATH names the file that was measured"
        raise RecipeMismatch(error.message, hint=hint) from None


def _known(recipe: Recipe) -> Model:
    model = recipe.model
    if model.source == "folder":
        raise RecipeMismatch(
            f"the recipe was made from a local folder, {model.id}",
            hint="--model FOLDER says where it is",
        )
    # The embedded model is a small one of its pipeline's typical one.
    entry = find_pipeline(model.pipeline) if model.source == "demo" else find(model.id)
    if entry is not None and entry.parts:
        return planned_model(entry).but(
            id=model.id, revision=model.revision, family=entry.family, pipeline=entry.pipeline
        )
    return resolve(f"{model.id}@{model.revision}", allow_download=False)


def _bare(recipe: Recipe) -> Model:
    """The model without its components."""
    model, entry = recipe.model, find_pipeline(recipe.model.pipeline)
    return Model(
        id=model.id,
        revision=model.revision,
        source=model.source,
        folder="",
        pipeline=model.pipeline,
        family=entry.family if entry else None,
        weights=model.weights,
        denoiser="transformer",
        components=(),
        workload=recipe.workload,
    )


def _place_of(model: Model, given: str | None) -> Expression:
    """What the script loads from."""
    if model.source == "hub":
        return model.id
    if model.source == "folder" and given is not None:
        return given
    folder = cache_folder("models") / f"demo-{BUILD}"
    home = Path.home()
    if not folder.is_relative_to(home):
        return str(folder)
    # A script is made to be shown: it does not say whose home it was.
    return Name(f'os.path.expanduser("~/{folder.relative_to(home).as_posix()}")')
