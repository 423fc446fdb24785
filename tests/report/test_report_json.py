"""The object that `suggest --json` prints: exactly the keys of the contract."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.report.json import to_json
from tests.search.factory import BASELINE
from tests.search.studies import FP16, WORLD, hasty, study
from tests.search.table_engine import World

KEYS = {
    "status",
    "recipe",
    "report",
    "study",
    "choices",
    "latency_s",
    "peak_bytes",
    "baseline",
    "verdict",
    "quality",
    "pictures",
    "trials",
    "seconds",
}


def test_a_study_that_found_something_has_exactly_the_keys_of_the_contract(
    tmp_path: Path,
) -> None:
    result, engine, _ = study(tmp_path, WORLD)
    answer = to_json(result)
    assert set(answer) == KEYS
    assert answer["status"] == "ok"
    assert answer["recipe"] == str(tmp_path / "recipe.json")
    assert answer["study"] == str(tmp_path)
    assert answer["report"] is None
    assert answer["choices"] == FP16
    assert answer["verdict"] == "faster"
    assert answer["trials"] == len(engine.specs)
    assert result.recipe is not None
    assert answer["latency_s"] == result.recipe.evidence.winner.latency_s
    assert result.recipe.evidence.baseline is not None
    assert answer["baseline"] == {
        "latency_s": result.recipe.evidence.baseline.latency_s,
        "peak_bytes": 100_000_000,
    }
    assert json.loads(json.dumps(answer)) == answer


def test_where_the_baseline_won_it_is_its_own_baseline(tmp_path: Path) -> None:
    answer = to_json(study(tmp_path, World())[0])
    assert answer["verdict"] == "is the baseline"
    assert answer["choices"] == BASELINE
    assert answer["baseline"] == {
        "latency_s": answer["latency_s"],
        "peak_bytes": answer["peak_bytes"],
    }


def test_when_nothing_fits_needed_says_what_would_do(tmp_path: Path) -> None:
    answer = to_json(study(tmp_path, World(), budget_bytes=60_000_000)[0])
    assert set(answer) == KEYS | {"needed"}
    assert answer["status"] == "none_fits"
    assert answer["recipe"] is answer["choices"] is answer["verdict"] is None
    assert answer["baseline"] == {"latency_s": 1.0, "peak_bytes": 100_000_000}
    assert set(answer["needed"]) == {"budget_bytes", "choices", "binds", "tried_out"}
    assert answer["needed"]["tried_out"] is True
    assert answer["needed"]["budget_bytes"] > 105_000_000
    assert json.loads(json.dumps(answer)) == answer


def test_a_study_without_time_is_provisional(tmp_path: Path) -> None:
    answer = to_json(study(tmp_path, hasty, takes_s=0.05, time_s=0.3, trials=50)[0])
    assert set(answer) == KEYS
    assert answer["status"] == "provisional"
    assert answer["recipe"] is not None
