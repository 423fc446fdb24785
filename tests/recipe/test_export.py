"""What an exported recipe says: formatted, whole, and nothing that its texts could smuggle in."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import BadInput, BadRecipe, NoResult, RecipeMismatch
from autotune.levers import offered_choices
from autotune.levers.script import Name, call
from autotune.models.catalog import find, load_catalog
from autotune.recipe.calls import arguments_of
from autotune.recipe.export import FORMS
from autotune.recipe.layout import comment_lines, laid_out, text_lines
from autotune.recipe.schema import Recipe, RecipeModel
from autotune.records import Device
from autotune.trial.generate import call_arguments
from tests.recipe.factory import make_recipe

NOWHERE = Device(kind="cpu", uuid="", name="", total_bytes=0, free_bytes=0)
REVISION = "0ef5fff789c832c5c7f4e127f94c8b54bbcced44"


def recipe_of(name: str, choices: Mapping[str, str], kind: str = "cuda", **work: Any) -> Recipe:
    """A recipe of a model of the catalogue, measured on a card."""
    entry = find(name)
    assert entry is not None
    recipe = make_recipe(
        model=RecipeModel(
            id=entry.hub or "demo",
            revision=REVISION,
            source=entry.source,
            pipeline=entry.pipeline,
            weights="real",
        ),
        workload=entry.workload.but(**work),
        choices=dict(choices),
    )
    fingerprint = recipe.fingerprint
    return recipe.but(fingerprint=fingerprint.but(device={**fingerprint.device, "kind": kind}))


def exports() -> Iterator[tuple[str, str]]:
    """Every choice of every lever on some models, as far as it can be told."""
    for name in ("flux", "sdxl", "wan-14b"):
        for lever, found in offered_choices(NOWHERE, None).items():
            for choice in found:
                try:
                    text = autotune.export(recipe_of(name, {"dtype": "bf16", lever: choice.id}))
                except NoResult:
                    continue
                yield f"{name}-{lever}-{choice.id}", text
    many = {
        "dtype": "bf16",
        "allocator": "expandable-segments",
        "quantize-denoiser": "torchao-int8dq",
        "quantize-text-encoder": "bnb-nf4",
        "vae-dtype": "fp32",
        "vae-tiling": "quarter",
        "cache": "fastercache-2",
        "offload": "group-disk",
        "compile": "regional-dynamic",
        "batch": "x8",
    }
    yield "flux-many", autotune.export(recipe_of("flux", many))
    for entry in load_catalog().entries:
        recipe = recipe_of(entry.name, {"dtype": "bf16"}, prompts=(entry.prompts[0] * 3,))
        yield f"{entry.name}-call", autotune.export(recipe)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scripts")
    for name, text in exports():
        (folder / f"{name}.py").write_text(text)
    assert len(list(folder.iterdir())) > 250
    return folder


# ---------------------------------------------------------------------------------- formatted


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check", "--diff"]])
def test_ruff_finds_nothing_in_any_script(scripts: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--isolated", "--no-cache", str(scripts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_name_in_a_script_is_there_and_takes_the_arguments_it_is_called_with(
    scripts: Path,
) -> None:
    """Cards are not needed to see a misspelt class or argument."""
    seen: set[str] = set()
    for script in scripts.iterdir():
        for node in ast.walk(ast.parse(script.read_text())):
            text = ast.unparse(node) if isinstance(node, (ast.Call, ast.Attribute)) else ""
            if text in seen or "." not in text:
                continue
            seen.add(text)
            if isinstance(node, ast.Attribute):
                found(text)
            elif isinstance(node, ast.Call) and (function := found(ast.unparse(node.func))):
                named = [one.arg for one in node.keywords if one.arg]
                assert takes(function, named), f"{script.name}: {text}"
    assert "diffusers.FasterCacheConfig" in seen


def found(dotted: str) -> Any:
    """What the name of a library's is; ``None`` for names of the script's own."""
    first, *rest = dotted.split(".")
    if first not in (
        "diffusers",
        "transformers",
        "torch",
        "torchao",
        "accelerate",
        "bitsandbytes",
    ):
        return None
    if not all(one.isidentifier() for one in rest):
        return None
    value = importlib.import_module(first)
    for name in rest:
        if not hasattr(value, name):
            importlib.import_module(f"{value.__name__}.{name}")
        value = getattr(value, name)
    return value


def takes(function: Any, named: list[str]) -> bool:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True  # of C
    kinds = {one.kind for one in parameters.values()}
    return inspect.Parameter.VAR_KEYWORD in kinds or set(named) <= set(parameters)


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        'a "quoted" word',
        "it's",
        'both \' and " and "',
        "line\nbreak\ttab \\ backslash",
        "x" * 200,
        "word " * 60,
        "é ü 狐 \u202e turned \x00 nul \udc80",
    ],
)
def test_a_text_stays_what_it_is(text: str) -> None:
    spaces: dict[str, Any] = {}
    exec("\n".join(text_lines("TEXT = ", text)), spaces)
    assert spaces["TEXT"] == text


def test_a_comment_stays_a_comment_whatever_it_holds() -> None:
    lines = comment_lines("a card\nimport os\r\u2028os.remove('x')" + " word" * 40)
    assert len(lines) > 1
    assert all(line.startswith("# ") and len(line) <= 88 for line in lines)
    assert all(len(line.splitlines()) == 1 for line in lines)


def test_what_fits_a_line_stands_on_one_and_the_rest_is_broken_as_little_as_it_can_be() -> None:
    short = call("pipe.to", "cuda")
    assert laid_out("", short) == ['pipe.to("cuda")']
    longer = call("pipe.transformer.enable_group_offload", onload_device="cuda", use_stream=True)
    assert laid_out("", longer, indent=" " * 16) == [
        f"{' ' * 16}pipe.transformer.enable_group_offload(",
        f'{" " * 20}onload_device="cuda", use_stream=True',
        f"{' ' * 16})",
    ]
    nested = call("load", Name("MODEL"), mapping={"transformer": call("config", text="x" * 70)})
    assert laid_out("pipe = ", nested) == [
        "pipe = load(",
        "    MODEL,",
        "    mapping={",
        '        "transformer": config(',
        f'            text="{"x" * 70}"',
        "        ),",
        "    },",
        ")",
    ]


# ------------------------------------------------------------------------------- what it says


def test_the_evidence_stands_above_the_script() -> None:
    recipe = recipe_of("flux", {"dtype": "bf16"})
    text = autotune.export(recipe)
    head = text.partition("import ")[0]
    for part in (
        "confirmed",
        "emulated",
        "0.505 s an image",
        "286 MiB",
        "1.99×",
        "A CPU",
        "torch",
    ):
        assert part in head
    assert (
        "provisional" in autotune.export(recipe.but(status="provisional")).partition("import")[0]
    )
    assert all(line.startswith("#") for line in head.splitlines() if line)


def test_the_readme_shows_what_is_written() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    (shown,) = re.findall(r"```text\n(# quantize-denoiser=.*?)\n```", readme, re.DOTALL)
    choices = {"dtype": "bf16", "quantize-denoiser": "torchao-int8wo", "offload": "model"}
    assert shown in autotune.export(recipe_of("flux", choices))


def test_the_script_is_the_same_for_the_same_recipe_and_names_the_revision() -> None:
    recipe = recipe_of("flux", {"dtype": "bf16"})
    text = autotune.export(recipe)
    assert text == autotune.export(recipe)
    assert f'REVISION = "{REVISION}"' in text
    assert "autotune" not in "".join(
        line for line in text.splitlines() if not line.startswith("#")
    )


def test_what_a_recipe_says_cannot_become_code() -> None:
    evil = "x\nimport os; os.abort()  #"
    recipe = recipe_of("flux", {"dtype": "bf16"}, prompts=(f'"""{evil}',))
    device = {**recipe.fingerprint.device, "name": evil}
    software = {**recipe.fingerprint.software, "torch": evil}
    recipe = recipe.but(fingerprint=recipe.fingerprint.but(device=device, software=software))
    tree = ast.parse(autotune.export(recipe))
    imported = [
        one.name for node in tree.body if isinstance(node, ast.Import) for one in node.names
    ]
    assert imported == ["diffusers", "torch"]
    assert "os.abort" not in [ast.unparse(node) for node in ast.walk(tree)]


def test_a_kind_of_device_that_there_is_not_is_refused() -> None:
    evil = 'cuda"); import os; ("'
    with pytest.raises(BadRecipe, match="which is no kind of device"):
        autotune.export(recipe_of("flux", {"offload": "group-leaf"}, kind=evil))


@pytest.mark.parametrize(
    "pipeline", sorted({entry.pipeline for entry in load_catalog().entries if entry.hub})
)
def test_a_pipeline_of_the_catalogue_is_called_as_its_own_signature_asks(pipeline: str) -> None:
    import diffusers

    entry = next(one for one in load_catalog().entries if one.pipeline == pipeline and one.hub)
    parameters = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
    real = {name: one.default for name, one in parameters.items()}
    work = entry.workload.but(guidance=3.0, max_sequence_length=64, batch=2)
    assert call_arguments(arguments_of(pipeline), work) == call_arguments(real, work)


def test_a_pipeline_that_is_not_in_the_catalogue_is_asked_how_it_is_called() -> None:
    assert "guidance_scale" in arguments_of("KandinskyV22Pipeline")


def test_several_pictures_of_a_call_have_the_seeds_that_were_measured() -> None:
    text = autotune.export(recipe_of("sdxl", {"batch": "x2"}, batch=2, seed=7))
    assert "seeds = range(7, 30000065, 10000019)" in text
    assert "num_images_per_prompt=4," in text
    video = autotune.export(recipe_of("wan-14b", {"batch": "x2"}))
    assert "num_videos_per_prompt=2," in video
    assert ").frames\n" in video


# -------------------------------------------------------------------------- what is refused


def test_what_cannot_be_told_is_refused_by_name_all_of_it() -> None:
    recipe = recipe_of("sdxl", {"compile": "jit-trace", "offload": "staged", "dtype": "fp16"})
    with pytest.raises(NoResult) as caught:
        autotune.export(recipe)
    assert "compile=jit-trace: a trace stands in" in caught.value.message
    assert "offload=staged: " in caught.value.message
    assert "autotune.build" in str(caught.value.hint)
    assert caught.value.exit_code == 1


def test_a_form_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="'comfyui'") as caught:
        autotune.export(recipe_of("flux", {}), to="comfyui")
    assert all(form in str(caught.value.hint) for form in FORMS)


def test_a_choice_that_is_not_installed_is_refused_with_a_close_one() -> None:
    with pytest.raises(BadRecipe, match="'bf61' is not a choice of the lever dtype"):
        autotune.export(recipe_of("flux", {"dtype": "bf61"}))


def test_a_local_folder_has_to_be_named() -> None:
    recipe = recipe_of("flux", {"dtype": "bf16"})
    recipe = recipe.but(model=recipe.model.but(source="folder", id="mine"))
    with pytest.raises(RecipeMismatch, match="made from a local folder, mine") as caught:
        autotune.export(recipe)
    assert "--model FOLDER" in str(caught.value.hint)
    assert autotune.export(recipe, to="env")


def test_the_embedded_model_is_loaded_from_the_cache_without_saying_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / ".cache" / "autotune"))
    text = autotune.export(recipe_of("demo", {"dtype": "bf16", "offload": "none"}, kind="cpu"))
    assert 'MODEL = os.path.expanduser("~/.cache/autotune/models/demo-1")' in text
    assert str(tmp_path) not in text
    assert "revision" not in text


def test_a_file_other_than_the_one_that_was_measured_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from tests.checkpoints import write_gguf
    from tests.trial.bench import tiny_model

    component = Path(tiny_model("flux").folder, "transformer")
    file = write_gguf(tmp_path / "denoiser.gguf", component, "Q8_0")
    with pytest.raises(RecipeMismatch, match="chooses a checkpoint that somebody gave") as caught:
        autotune.export(recipe_of("flux", {"checkpoint": "gguf"}), checkpoints={"denoiser": file})
    assert "--checkpoint" in str(caught.value.hint)


def test_another_model_is_refused_with_both(tmp_path: Path) -> None:
    from tests.tiny import tiny_sd15

    folder = tiny_sd15(tmp_path / "sd15")
    with pytest.raises(RecipeMismatch, match=r"is for black-forest-labs/FLUX\.1-dev") as caught:
        autotune.export(recipe_of("flux", {"dtype": "bf16"}), model=str(folder))
    assert "StableDiffusionPipeline" in caught.value.message


# -------------------------------------------------------------------------------- environment


def test_the_environment_is_what_the_recipe_needs() -> None:
    text = autotune.export(recipe_of("flux", {"allocator": "expandable-segments"}), to="env")
    plain = recipe_of("flux", {"dtype": "bf16", "offload": "staged"})
    assert text.splitlines()[-1] == "export PYTORCH_ALLOC_CONF=expandable_segments:True"
    assert "need no environment variable" in autotune.export(plain, to="env")
