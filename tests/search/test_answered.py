"""A question that was answered is not measured again, unless that is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.recipe.read import read_recipe
from autotune.recipe.write import write_recipe
from autotune.report.json import to_json
from autotune.report.text import advice, print_results
from autotune.search.answered import give_answers
from autotune.search.request import Request
from autotune.search.study_folder import STUDY
from tests.search.studies import Scribe
from tests.search.test_resume import asked, go, release


@pytest.fixture
def ended(tmp_path: Path) -> Request:
    """A study that has its recipe."""
    request = asked(tmp_path)
    result, _, _ = go(request)
    assert result.status == "ok"
    release(request)
    return request


def test_the_same_question_is_answered_by_the_study_that_ended(
    ended: Request, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = asked(tmp_path)
    scribe = Scribe()
    (result,) = give_answers([again], scribe)
    assert result.recipe == read_recipe(ended.recipe_path)
    assert (result.status, result.recipe_path, result.folder) == (
        *("ok", ended.recipe_path, ended.folder),
    )
    assert scribe.sentences[0].startswith("measured on 20")
    assert scribe.sentences[0].endswith(f" in {ended.folder}: --restart measures anew")
    assert "dtype=fp16" in next(iter(advice(result)))
    print_results([result], sys.stdout)
    assert capsys.readouterr().out.startswith("advice: ")
    answer = to_json(result)
    assert (answer["status"], answer["choices"]["dtype"]) == ("ok", "fp16")
    assert answer["trials"] == result.recipe.evidence.trials
    assert [path.name for path in tmp_path.iterdir()] == [ended.folder.name]


@pytest.mark.parametrize(
    "changes",
    [{"restart": True}, {"trials": 9}, {"vram": "119MB"}, {"record": "space.jsonl"}, {"seed": 3}],
)
def test_what_was_not_asked_then_is_measured(
    ended: Request, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    again = asked(tmp_path, **changes)
    assert again.answer is None
    assert again.folder != ended.folder


def test_fewer_trials_are_no_other_question(ended: Request, tmp_path: Path) -> None:
    assert asked(tmp_path, trials=3).answer is not None


def damage(request: Request) -> None:
    text = request.recipe_path.read_text()
    request.recipe_path.write_text(text.replace("fp16", "fp32"))


def demote(request: Request) -> None:
    recipe = read_recipe(request.recipe_path)
    write_recipe(recipe.but(status="provisional"), request.recipe_path, overwrite=True)


def move_to_another_machine(request: Request) -> None:
    path = request.folder / STUDY
    study = json.loads(path.read_text())
    study["fingerprint"]["software"]["torch"] = "1.0"
    path.write_text(json.dumps(study))


@pytest.mark.parametrize(
    "spoil", [damage, demote, move_to_another_machine, lambda one: one.recipe_path.unlink()]
)
def test_an_answer_that_does_not_hold_any_more_is_none(
    ended: Request, tmp_path: Path, spoil: Any
) -> None:
    spoil(ended)
    assert asked(tmp_path).answer is None


def test_an_answer_goes_where_it_is_asked_for_and_over_nothing(
    ended: Request, tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"
    (result,) = give_answers([asked(tmp_path, out=out)], Scribe())
    assert result.recipe_path == out
    assert out.read_bytes() == ended.recipe_path.read_bytes()
    with pytest.raises(BadInput, match="exists"):
        asked(tmp_path, out=out)
