"""``autotune estimate``: an answer for any card, on this machine, without a network."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Ended, run

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def answered(home: Path) -> Any:
    ended = estimate(home, "--model", "flux", "--vram", "12GB", "--gpu", "RTX 3060", "--json")
    assert ended.code == 0, ended.err
    assert "looking at black-forest-labs/FLUX.1-dev" in ended.err
    return ended.answer


def estimate(home: Path, *arguments: str) -> Ended:
    env = {**OFFLINE, "XDG_CACHE_HOME": str(home), "AUTOTUNE_CACHE": str(home)}
    return run("estimate", *arguments, folder=home, env=env)


def test_flux_on_a_3060_does_not_fit_as_it_is_and_what_fits_is_named(answered: Any) -> None:
    assert answered["predicted"] is True
    assert answered["device"] == {"kind": "cuda", "name": "RTX 3060 12GB"}
    assert answered["tflop"]["transformer"] == pytest.approx(74.4, rel=0.01)
    baseline = answered["baseline"]
    # 33.7 GB of weights, and what decoding takes.
    assert 35e9 < baseline["peak_bytes"] < 45e9
    assert baseline["binds"]["part"] == "transformer"
    assert answered["best"]
    for one in answered["best"]:
        assert one["peak_bytes"] <= 12e9
        assert one["changes"]
    fastest = answered["best"][0]["latency_s"]
    assert fastest == min(one["latency_s"] for one in answered["best"])
    # Of 28 steps of 74.4 TFLOP at 25 TFLOP/s a cache computes a part: no less than that.
    assert fastest > 20
    assert answered["may_fit"] <= answered["legal"] <= answered["combinations"]


def test_more_memory_is_never_slower_and_more_change_never_larger(answered: Any) -> None:
    ladder = [one for one in answered["ladder"].values() if one is not None]
    times = [one["latency_s"] for one in ladder]
    # One per cent is given up for a simpler candidate.
    assert all(later <= sooner * 1.02 for sooner, later in itertools.pairwise(times))
    least = [
        answered["least"][name]["peak_bytes"] for name in ("exact", "close", "balanced", "any")
    ]
    assert all(more <= less * 1.02 for less, more in itertools.pairwise(least))


def test_the_second_answer_looks_nothing_up(home: Path, answered: Any) -> None:
    ended = estimate(home, "--model", "flux", "--vram", "12GB", "--gpu", "rtx3060")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("predicted, not measured\n")
    for part in ("what binds:", "the least memory", "the fastest for each size of card"):
        assert part in ended.out
    assert "autotune suggest --model flux --vram 12000MB" in ended.out


def test_a_budget_that_nothing_meets_is_said_with_what_may_be_enough(
    home: Path, answered: Any
) -> None:
    ended = estimate(home, "--model", "flux", "--vram", "600MB", "--gpu", "RTX 3060")
    assert ended.code == 1
    assert "nothing is foreseen to fit 572 MiB" in ended.out
    assert "hint: --vram " in ended.out


def test_a_pinned_lever_stays_and_little_host_memory_is_kept_to(home: Path, answered: Any) -> None:
    ended = estimate(
        home,
        *("--model", "flux", "--vram", "12GB", "--gpu", "RTX 3060", "--json"),
        *("--set", "vae-tiling=half", "--ram", "16GB"),
        *("--quality", "any"),
    )
    assert ended.code == 0, ended.err
    for one in ended.answer["best"]:
        assert one["choices"]["vae-tiling"] == "half"
        assert one["host_bytes"] <= 16e9


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpu", "RTX 9999"), "RTX 9999"),
        (("--gpu", "3080"), "3080"),
        (("--size", "big"), "'big' is not a size"),
        (("--size", "1000x1001"), "1001"),
        (("--quality", "best"), "there is no quality"),
        (("--set", "dtype=fp13"), "fp13"),
        (("--vram", "lots"), "lots"),
        (("--gpu", "RTX 3060", "--ram", "80%"), "of a machine that is not here"),
        (("--gpu", "RTX 3060", "--device", "cpu"), "not allowed with"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    home: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = estimate(home, "--model", "flux", *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert says in ended.err
    assert "hint: " in ended.err


def test_a_model_that_is_not_known_here_is_not_downloaded(home: Path) -> None:
    ended = estimate(home, "--model", "somebody/something", "--gpu", "RTX 4090")
    assert ended.code == 3
    assert "is not known here" in ended.err


def test_the_same_question_is_answered_from_what_is_kept_and_alike(
    home: Path, answered: Any
) -> None:
    kept = list((home / "answers").glob("*.json"))
    assert kept
    again = estimate(home, "--model", "flux", "--vram", "12GB", "--gpu", "RTX 3060", "--json")
    assert again.answer == answered
    # What is kept is what answers: without its candidates there is nothing to show.
    for path in kept:
        known = json.loads(path.read_text())
        path.write_text(json.dumps({**known, "best": []}))
    emptied = estimate(home, "--model", "flux", "--vram", "12GB", "--gpu", "RTX 3060", "--json")
    assert emptied.answer["best"] == []
    for path in kept:
        path.write_text("not an answer")
    searched = estimate(home, "--model", "flux", "--vram", "12GB", "--gpu", "RTX 3060", "--json")
    assert searched.answer == answered
