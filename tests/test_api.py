"""The functions behind `import autotune`: what they check, and a study in this process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.asked import Asked, make_request
from autotune.errors import BadInput
from autotune.search.listener import Silence
from autotune.search.request import Request
from autotune.search.study import Result
from tests.cli.command import environment
from tests.tiny import tiny_sd15

#: Small enough for a trial to take a tenth of a second.
SMALL = {"height": 64, "width": 64, "steps": 1}


def test_importing_the_package_imports_nothing_that_is_installed() -> None:
    code = (
        "import sys; before = set(sys.modules); import autotune; "
        "print(sorted(name for name in set(sys.modules) - before if '.' not in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ast.literal_eval(done.stdout)) <= sys.stdlib_module_names | {"autotune"}


def test_every_public_name_is_there_and_no_other() -> None:
    for name in autotune.__all__:
        assert getattr(autotune, name) is not None
    assert set(autotune.__all__) <= set(dir(autotune))
    with pytest.raises(AttributeError, match="no attribute 'sugest'"):
        autotune.sugest  # noqa: B018


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd15(tmp_path_factory.mktemp("models") / "sd15")


def request_for(folder: Path, runs: Path, **changes: Any) -> Request:
    usual: dict[str, Any] = {"vram": "1GB", "device": "cpu", "runs": runs}
    return make_request(str(folder), Asked(**{**usual, **changes}))


def test_a_request_is_complete_and_has_a_run_folder_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    first = request_for(folder, tmp_path, time="90s", workload=SMALL, fix={"dtype": "bf16"})
    second = request_for(folder, tmp_path, time=90)
    assert first.budget_bytes == 10**9
    assert first.budget_asked == "1GB"
    assert first.emulated
    assert first.time_s == second.time_s == 90.0
    assert first.trials == 12
    assert first.pins == {"dtype": "bf16"}
    assert first.model.workload.steps == 1
    assert first.folder.is_dir()
    assert first.folder == tmp_path / "sd15-954MiB-cpu"
    assert second.folder == tmp_path / "sd15-954MiB-cpu-2"
    assert first.recipe_path == first.folder / "recipe.json"


def test_without_a_budget_it_is_what_is_free_less_a_reserve(folder: Path, tmp_path: Path) -> None:
    request = request_for(folder, tmp_path, vram=None)
    assert 0 < request.budget_bytes < request.device.free_bytes - 500_000_000
    assert not request.emulated
    assert request.budget_asked.endswith("what is free")


def test_nearly_the_whole_device_is_not_emulated(folder: Path, tmp_path: Path) -> None:
    assert not request_for(folder, tmp_path, vram="96%").emulated
    assert request_for(folder, tmp_path, vram="94%").emulated


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": 0}, "a time of 0 seconds"),
        ({"time": -1.0}, "a time of -1.0 seconds"),
        ({"time": float("nan")}, "a time of nan seconds"),
        ({"time": float("inf")}, "a time of inf seconds"),
        ({"time": 1e9}, "a time of"),
        ({"time": "soon"}, "'soon' is not a duration"),
        ({"trials": 0}, "0 trials are none"),
        ({"seed": -1}, "the seed cannot be -1"),
        ({"seed": 2**32}, "the seed cannot be 4294967296"),
        ({"vram": "12"}, "'12' has no unit"),
        ({"vram": "999TB"}, "larger than the device"),
        ({"device": "cuda:7"}, "no device 'cuda:7'"),
        ({"fix": {"dtyp": "bf16"}}, "no lever 'dtyp'"),
        ({"fix": {"dtype": "bf61"}}, "no choice of dtype 'bf61'"),
        ({"workload": {"step": 3}}, "a workload has no 'step'"),
        ({"workload": {"height": 65}}, "a height of 65 pixels"),
        ({"space": "lossles"}, "no search space 'lossles'"),
        ({"out": "/nowhere/at/all.json"}, "cannot write"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_a_folder_is_made(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput) as caught:
        request_for(folder, tmp_path / "runs", **changes)
    assert message in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ({"vae-slicing": "on"}, "vae-slicing=on cannot be set here: nothing to split"),
        ({"attention-slicing": "max", "attention": "native-math"}, "cannot be set here"),
    ],
)
def test_a_setting_that_this_model_or_a_rule_excludes_leaves_no_folder(
    folder: Path, tmp_path: Path, fix: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        autotune.suggest(str(folder), vram="1GB", fix=fix, runs=tmp_path, engine="debug")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------- a study in this process


def suggest(folder: Path, runs: Path, **changes: Any) -> Result:
    usual: dict[str, Any] = {"vram": "1GB", "device": "cpu", "trials": 2, "workload": SMALL}
    usual["effort"] = "quick"
    return autotune.suggest(str(folder), runs=runs, engine="debug", **{**usual, **changes})


@pytest.mark.trials
def test_suggest_gives_a_recipe_that_can_be_loaded_and_built(folder: Path, tmp_path: Path) -> None:
    result = suggest(folder, tmp_path, fix={"dtype": "fp32"})
    assert result.status == "ok"
    assert result.recipe is not None
    assert result.recipe_path is not None
    assert autotune.load_recipe(result.recipe_path) == result.recipe
    assert result.recipe.choices["dtype"] == "fp32"
    pipe = autotune.build(result.recipe_path, model=str(folder), device="cpu")
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert autotune.apply(pipe, result.recipe) is pipe


@pytest.mark.trials
def test_a_recipe_file_that_appeared_meanwhile_is_kept_and_so_are_the_trials(
    folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"

    class Meddler(Silence):
        def chapter(self, title: str) -> None:
            out.write_text("somebody else's")

    with pytest.raises(BadInput, match="exists"):
        suggest(folder, tmp_path / "runs", out=out, trials=1, listener=Meddler())
    assert out.read_text() == "somebody else's"
    assert list((tmp_path / "runs").glob("*/trials/0001/outcome.json"))


@pytest.mark.trials
def test_force_replaces_an_existing_recipe(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "old.json"
    out.write_text("old")
    with pytest.raises(BadInput, match="exists"):
        suggest(folder, tmp_path / "runs", out=out)
    assert not (tmp_path / "runs").exists()
    result = suggest(folder, tmp_path / "runs", out=out, force=True, trials=1)
    assert autotune.load_recipe(out) == result.recipe
