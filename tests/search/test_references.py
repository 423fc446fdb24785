"""What documentation advises is measured beside the winner, or says why it cannot run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.asked import Asked, make_request
from autotune.errors import BadInput
from autotune.levers import offered_choices
from autotune.recipe.claims import untrue
from autotune.recipe.read import read_recipe
from autotune.records import Outcome, TrialSpec
from autotune.report.recipe import explanation
from autotune.report.text import advice
from autotune.search.definition import Definition
from autotune.search.references import load_references, references_for
from autotune.search.study import Result
from autotune.stats.compare import Verdict
from autotune.status import Status
from tests.search.factory import make_choices, make_device, make_model
from tests.search.studies import study
from tests.search.table_engine import TableEngine, World, failed

LEVERS = {
    "dtype": ("fp16", "fp32", "bf16"),
    "channels-last": ("off", "denoiser"),
    "attention": ("native", "xformers"),
    "vae-tiling": ("off", "half"),
}
#: Tiles are the fastest and the only thing that is searched.
WORLD = World(
    effects={
        "dtype=fp32": (2.0, 1.1),
        "channels-last=denoiser": (0.9, 1.0),
        "attention=xformers": (0.8, 0.7),
        "vae-tiling=half": (0.5, 0.8),
    },
    noise=0.002,
)


def against_docs(folder: Path, answer: Any = WORLD, **changes: Any) -> tuple[Result, TableEngine]:
    unavailable = {"attention=xformers": "xformers is not installed"}
    wanted = {
        "choices": make_choices(LEVERS, unavailable),
        "definition": Definition(levers={"vae-tiling": "all"}),
        "model": make_model(family="sd15"),
        "against": "docs",
        **changes,
    }
    result, engine, _ = study(folder, answer, **wanted)
    return result, engine


def test_every_choice_of_every_reference_exists_and_every_family_is_known() -> None:
    offered = offered_choices(make_device(kind="cuda"), None)
    names = [one.name for one in load_references()]
    assert len(set(names)) == len(names)
    families = {path.stem for path in (Path(__file__).parents[2] / "search_spaces").iterdir()}
    for one in load_references():
        assert set(one.families) <= families
        for lever, id in one.choices.items():
            assert id in [choice.id for choice in offered[lever]], f"{one.name}: {lever}={id}"


def test_a_family_has_its_references_and_those_of_all() -> None:
    assert [one.name for one in references_for("flux")] == [
        "as loaded",
        "nf4",
        "nf4, compiled",
        "nf4, compiled, offloaded",
    ]
    assert [one.name for one in references_for("wan")] == ["as loaded"]
    assert [one.name for one in references_for(None)] == ["as loaded"]


def test_the_recipe_says_by_how_much_it_beats_each_and_why_one_did_not_run(
    tmp_path: Path,
) -> None:
    result, engine = against_docs(tmp_path)
    recipe = read_recipe(result.recipe_path or tmp_path)
    against = {one.name: one for one in recipe.evidence.against}
    loaded = against["as loaded"]
    assert loaded.verdict is Verdict.FASTER
    assert loaded.compared is not None
    assert loaded.compared.ratio == pytest.approx(4.0, rel=0.02)
    assert loaded.peak_bytes == 110_000_000
    assert against["fp16"].why == "is the baseline"
    other = against["fp16, channels last"].compared
    assert other is not None
    assert other.ratio == pytest.approx(1.8, rel=0.02)
    missing = against["fp16, memory-efficient attention"]
    assert missing.compared is None
    assert missing.why == "attention=xformers: xformers is not installed"
    # In turns: four of each, beside the confirmation.
    confirmed = [one["dtype"] for one in engine.tried("confirm")]
    assert confirmed.count("fp32") == 4
    for lines in (list(advice(result)), list(explanation(recipe, "it"))):
        text = "\n".join(lines)
        assert "as loaded: 4.0" in text or "as loaded: 3.9" in text
        assert "its speed (" in text
        assert "it peaks at 105 MiB" in text
        assert "fp16, memory-efficient attention: attention=xformers: xformers is not" in text


def test_a_reference_that_does_not_run_is_said_to_and_the_study_goes_on(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        if spec.choices["dtype"] == "fp32":
            return failed(spec.trial, Status.OUT_OF_VRAM)
        return WORLD(spec)

    result, _ = against_docs(tmp_path, answer)
    assert result.recipe is not None
    against = {one.name: one for one in result.recipe.evidence.against}
    assert against["as loaded"].why == "does not run here"
    assert against["fp16, channels last"].verdict is Verdict.FASTER


def test_a_verdict_that_the_samples_do_not_carry_is_untrue(tmp_path: Path) -> None:
    result, _ = against_docs(tmp_path)
    assert result.recipe is not None
    assert untrue(result.recipe) is None
    block = result.recipe.evidence
    slower = block.against[0].but(ours_s=block.against[0].theirs_s)
    said = untrue(result.recipe.but(evidence=block.but(against=(slower,))))
    assert said == "evidence.against[0].verdict is 'faster', the samples say 'same'"


def test_nothing_is_measured_beside_it_unless_that_is_asked_for(tmp_path: Path) -> None:
    result, engine = against_docs(tmp_path, against=None)
    assert result.recipe is not None
    assert result.recipe.evidence.against == ()
    assert {one["dtype"] for one in engine.tried("confirm")} == {"fp16"}


def test_something_else_to_be_measured_against_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is nothing called 'sglang'"):
        make_request("demo", Asked(against="sglang", device="cpu", runs=tmp_path))
