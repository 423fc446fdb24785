"""`autotune suggest` with several budgets, another sampler, everything tried, and a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import candidate_key
from autotune.search.recorded import RecordedSpace, read_recorded
from autotune.status import Status
from tests.cli.command import run
from tests.report.test_report_json import KEYS

pytestmark = pytest.mark.trials

#: Six candidates of the demo, of which tiles are by far the slowest.
SPACE = """
format = 1
about = "Six candidates."

[levers]
vae-tiling = "all"
fuse-qkv = "all"
"""
OTHERS = (
    *("dtype", "channels-last", "attention", "vae-dtype", "quantize-denoiser"),
    *("quantize-text-encoder", "layerwise-casting", "matmul-precision"),
)
DEMO = (
    *("suggest", "--model", "demo", "--device", "cpu", "--space", "six.toml"),
    *("--effort", "quick"),
)


def place(folder: Path) -> Path:
    levers = "".join(f'{lever} = "baseline"\n' for lever in OTHERS)
    (folder / "six.toml").write_text(SPACE + levers)
    return folder


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, RecordedSpace, Path]:
    """The answer and the record of a study that tried all six."""
    folder = place(tmp_path_factory.mktemp("everything"))
    line = (*DEMO, "--vram", "1GB", "--exhaustive", "--record", "six.jsonl", "--json")
    ended = run(*line, folder=folder)
    assert ended.code == 0, ended.err
    assert "at most 6 will be measured" in ended.err
    assert "(listed): " in ended.err
    assert "6 candidates are recorded: six.jsonl" in ended.err
    return ended.answer, read_recorded(folder / "six.jsonl"), folder


def test_everything_is_recorded_with_what_it_took_and_where(
    everything: tuple[Any, RecordedSpace, Path],
) -> None:
    _, table, _ = everything
    assert len(table.rows) == 6
    for row in table.rows.values():
        assert row.outcome is Status.MEASURED
        assert row.cost_s > (row.latency_s or 0)
        assert row.predicted is not None
        assert row.predicted.latency_s is not None
    device = table.header.device
    assert isinstance(device, dict)
    assert device["kind"] == "cpu"
    assert device["fingerprint"]["software"]["torch"]  # type: ignore[index,call-overload]


def test_a_search_finds_what_trying_everything_finds(
    everything: tuple[Any, RecordedSpace, Path], tmp_path: Path
) -> None:
    whole, table, _ = everything
    ended = run(*DEMO, "--vram", "1GB", "--trials", "4", "--json", folder=place(tmp_path))
    assert ended.code == 0, ended.err
    for answer in (whole, ended.answer):
        row = table.rows[candidate_key(answer["choices"])]
        assert row.latency_s is not None
        # Which of the others is fastest is for a quiet machine to say. Tiles take half as long
        # again at the least.
        assert answer["choices"]["vae-tiling"] == "off"


def test_a_record_is_not_overwritten(everything: tuple[Any, RecordedSpace, Path]) -> None:
    _, _, folder = everything
    ended = run(*DEMO, "--vram", "1GB", "--record", "six.jsonl", folder=folder)
    assert ended.code == 2
    assert "six.jsonl" in ended.err


def test_several_budgets_have_a_recipe_each_and_one_study(tmp_path: Path) -> None:
    line = (*DEMO, "--vram", "60MB,1GB", "--trials", "4", "--sampler", "random", "--json")
    ended = run(*line, "--record", "some.jsonl", folder=place(tmp_path))
    large, small = ended.answer
    assert set(large) == KEYS
    assert set(small) - {"needed"} == KEYS
    assert large["status"] == "ok", ended.err
    assert large["recipe"].endswith("recipe-1GB.json")
    assert large["study"] == small["study"]
    assert "Search within 1 GB" in ended.err
    assert "Search within 60 MB" in ended.err
    assert ended.err.count("baseline (baseline)") == 1
    assert "(random): " in ended.err
    recipe = read_recipe(tmp_path / large["recipe"])
    assert recipe.budget.bytes == 10**9
    if small["recipe"] is None:
        assert ended.code == 1
        assert small["needed"]["budget_bytes"] > 60_000_000
    else:
        assert read_recipe(tmp_path / small["recipe"]).evidence.winner.peak_bytes <= 60_000_000
    assert len(read_recorded(tmp_path / "some.jsonl").rows) >= 4


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--exhaustive", "--trials", "3"), "--exhaustive tries everything"),
        (("--exhaustive", "--sampler", "tpe"), "asks no --sampler"),
        (("--record", "./a.json", "--out", "a.json"), "name the same file"),
        (
            ("--vram", "1GB,2GB", "--record", "a-2GB.json", "--out", "a.json"),
            "name the same file",
        ),
        (("--sampler", "optuna.samplers:GridSampler"), "cannot be made without arguments"),
        (("--sampler", "gp9"), "there is no sampler 'gp9'"),
        (("--sampler", "os:path"), "is no sampler of Optuna's kind"),
        (("--vram", "1GB,1000MB"), "1000MB is there twice"),
        (("--vram", "1GB,"), "hint: "),
        (("--vram", "12,5GB"), "12"),
        (("--record", "x.json", "--out", "x.json"), "name the same file"),
        (("--record", "no/such/folder/x"), "no/such/folder"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(
    tmp_path: Path, arguments: tuple[str, ...], error: str
) -> None:
    ended = run(*DEMO, *arguments, folder=place(tmp_path))
    assert ended.code == 2
    assert error in ended.err
    assert "hint: " in ended.err
    assert not (tmp_path / "autotune-runs").exists()
