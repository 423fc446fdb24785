"""How often a study claims what is not so: identical candidates must not win (A/A)."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.search.listener import Silence
from autotune.search.study import run_study
from autotune.stats.compare import Verdict
from tests.search.factory import make_choices, make_request
from tests.search.table_engine import TableEngine, World

STUDIES = 100


def verdicts(folder: Path, world: dict[str, tuple[float, float]]) -> list[Verdict]:
    found = []
    for seed in range(STUDIES):
        own = folder / str(seed)
        own.mkdir()
        engine = TableEngine(
            choices=make_choices(), answer=World(effects=world, noise=0.03, seed=seed)
        )
        request = make_request(own, seed=seed, trials=8)
        recipe = run_study(request, engine, Silence()).recipe
        assert recipe is not None
        found.append(recipe.evidence.comparison.verdict)
    return found


@pytest.mark.timeout(120)
def test_among_identical_candidates_at_most_one_study_in_twenty_claims_a_faster_one(
    tmp_path: Path,
) -> None:
    found = verdicts(tmp_path, {})
    assert found.count(Verdict.FASTER) <= STUDIES * 0.05
    assert found.count(Verdict.IS_BASELINE) >= STUDIES * 0.95


@pytest.mark.timeout(120)
def test_a_planted_gain_of_fifteen_per_cent_is_found(tmp_path: Path) -> None:
    found = verdicts(tmp_path, {"dtype=fp16": (1 / 1.15, 1.0)})
    assert found.count(Verdict.FASTER) >= STUDIES * 0.9
