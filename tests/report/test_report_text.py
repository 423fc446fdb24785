"""What people read: tables and advice at several widths, and user text printed as it is."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autotune.levers import load_levers, offered_choices
from autotune.probe import probe_machine
from autotune.records import Choice, Fidelity
from autotune.report.levers import print_levers
from autotune.report.machine import print_machine
from autotune.report.recipe import explanation, print_recipe
from autotune.report.text import advice, print_result
from autotune.report.words import change_phrase, console_for
from autotune.search.study import Result
from autotune.status import Status
from tests.recipe.factory import make_evidence, make_recipe
from tests.search.factory import make_device
from tests.search.studies import hasty, study
from tests.search.table_engine import World, failed

#: Would be taken for a colour, a link or a face by a printer of markup.
TRAP = "[red]text[/red] [link=x] :smile: [/] ["


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(how: Any, *arguments: Any, width: int | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a report prints on a terminal of that width, or into a pipe."""
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO() if width is None else Terminal()
    how(*arguments, stream)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # bold stays without colours


WIDTHS = pytest.mark.parametrize("width", [80, 200, None])


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return study(tmp_path, World(effects={"dtype=fp16": (0.5, 1.0), "dtype=fp32": (0.4, 2.0)}))[0]


@WIDTHS
def test_the_table_has_every_trial_whole_and_no_line_is_wider_than_the_terminal(
    result: Result, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(print_result, result, width=width, monkeypatch=monkeypatch)
    table = text.partition("advice:")[0]
    assert max(len(line) for line in table.splitlines()) <= (width or 110)
    assert "…" not in text
    words = "".join(table.split())
    for tried in result.history.tried:
        phrase = change_phrase(result.history.space.changes(tried.candidate))
        assert all("".join(part.split()) in words for part in phrase.split(", "))
    assert table.count("fits") == sum(result.history.fits(one) for one in result.history.tried)


@WIDTHS
def test_the_advice_is_not_wrapped_so_that_it_can_be_copied(
    result: Result, width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(print_result, result, width=width, monkeypatch=monkeypatch).splitlines()
    assert "advice: dtype=fp16" in lines
    assert f"recipe:  {result.recipe_path}" in lines
    assert f"in code: pipe = autotune.build({str(result.recipe_path)!r})" in lines


def test_the_table_is_sorted_by_what_fits_and_how_fast_it_is(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = printed(print_result, result, width=200, monkeypatch=monkeypatch)
    rows = [line for line in table.splitlines() if "×" in line and "%" not in line][:12]
    fits = ["fits" in row for row in rows]
    assert fits == sorted(fits, reverse=True)
    assert "2.00×" in rows[0]


def test_the_advice_gives_the_verdict_with_its_interval(result: Result) -> None:
    text = "\n".join(advice(result))
    assert "faster than the baseline: 2.00× (" in text
    assert "over 4 fresh processes a side, interleaved" in text
    assert "83% of 114 MiB" in text  # 100 MB of 120 MB
    assert "the weights are random" in text
    assert "the budget was emulated" in text


def test_where_nothing_was_faster_the_advice_says_it_is_the_baseline(tmp_path: Path) -> None:
    lines = list(advice(study(tmp_path, World())[0]))
    assert lines[0] == "advice: baseline"
    assert "        this is the baseline: nothing was proven faster" in lines


def test_a_provisional_recipe_is_called_so(tmp_path: Path) -> None:
    result, _, _ = study(tmp_path, hasty, takes_s=0.05, time_s=0.3, trials=50)
    assert "provisional: measured once, there was no time to confirm it" in "\n".join(
        advice(result)
    )


def test_when_nothing_fits_the_budget_that_would_do_can_be_copied(tmp_path: Path) -> None:
    result, _, _ = study(tmp_path, World(), budget_bytes=60_000_000)
    lines = list(advice(result))
    assert lines[0] == "nothing fits 57 MiB: no recipe was written"
    assert lines[1] == "smallest budget that would do: 110 MiB (seen to work, baseline)"
    assert lines[2] == "what binds: transformer during denoise"
    assert lines[-1] == "hint: --vram 116MB"


def test_each_way_to_end_without_a_recipe_has_its_own_sentence(tmp_path: Path) -> None:
    out_of_memory, _, _ = study(tmp_path, lambda spec: failed(spec.trial, Status.OUT_OF_VRAM))
    out_of_time, _, _ = study(tmp_path, World(), takes_s=60, time_s=0.1)

    def interrupt(spec: object) -> Any:
        raise KeyboardInterrupt

    interrupted, _, _ = study(tmp_path, interrupt)
    assert "no candidate could be measured" in "\n".join(advice(out_of_memory))
    assert "the time ran out" in "\n".join(advice(out_of_time))
    assert list(advice(interrupted)) == [
        "interrupted before anything within the budget was measured",
        "go on:   the same command again continues this study",
    ]


# ------------------------------------------------------------------------- explain, levers, probe


def test_a_recipe_is_explained_with_choices_evidence_refused_and_budget() -> None:
    recipe = make_recipe()
    text = "\n".join(explanation(recipe, "my.json"))
    assert recipe.evidence.comparison.ratio is not None
    assert text.startswith("my.json: confirmed, written by autotune 0.1.0")
    assert "dtype = bf16  (seen in 12 modules)" in text
    assert "median of 12 generations in 4 processes" in text
    assert "400 MB (381 MiB), emulated on a larger device" in text
    assert f"faster, {recipe.evidence.comparison.ratio:.2f}× the speed of the baseline" in text
    assert "attention=xformers: 0.400 s, needs 450 MiB" in text


def test_a_recipe_for_several_batches_says_how_it_must_be_called() -> None:
    plain = make_recipe()
    assert "num_images_per_prompt" not in "\n".join(explanation(plain, "x"))
    recipe = plain.but(
        choices=plain.choices | {"batch": "x4"}, workload=plain.workload.but(batch=2)
    )
    line = next(line for line in explanation(recipe, "x") if line.startswith("calls:"))
    assert line == (
        "calls:    batch=x4 holds for calls that make 8 images at once: "
        "pipe(..., num_images_per_prompt=8); times are for 2"
    )
    video = recipe.but(workload=plain.workload.but(frames=9))
    assert "num_videos_per_prompt=4" in "\n".join(explanation(video, "x"))


def test_the_advice_for_several_batches_says_how_it_must_be_called(result: Result) -> None:
    recipe = result.recipe
    assert recipe is not None
    several = recipe.but(choices=recipe.choices | {"batch": "x2"})
    told = "\n".join(advice(replace(result, recipe=several)))
    assert "pipe(..., num_images_per_prompt=2)" in told
    assert "num_images_per_prompt" not in "\n".join(advice(result))


def test_times_are_explained_with_their_intervals_over_processes() -> None:
    text = "\n".join(explanation(make_recipe(), "x"))
    assert "          95% interval 0.500 s to 0.520 s, MAD 0.005 s" in text
    assert "baseline: 1.00 s an image, 95% interval 1.00 s to 1.02 s, MAD 0.005 s" in text
    assert "caution" not in text


def test_what_makes_times_less_sure_is_said_with_advice(result: Result) -> None:
    fast = ((0.5, 0.5), (0.5, 0.5), (0.5, 0.9), (0.51, 0.5))
    slow = ((1.0, 1.0), (1.1, 1.1), (1.2, 1.2), (1.3, 1.3))
    shaky = make_recipe(evidence=make_evidence(fast, slow))
    words = (
        "some samples are off by half of the median or more (1 of 8, one 1.8 times the median): "
        "close other programs and measure again",
        "baseline: times drift from process to process (26% slower from the first to the last of "
        "4): let the device settle, and measure with more --effort",
    )
    explained = list(explanation(shaky, "x"))
    advised = list(advice(replace(result, recipe=shaky)))
    for one in words:
        assert f"caution:  {one}" in explained
        assert f"        caution: {one}" in advised


def test_a_recipe_without_a_baseline_is_explained_too() -> None:
    text = "\n".join(explanation(make_recipe(evidence=make_evidence(baseline=None)), "x"))
    assert "verdict:  cannot say: no baseline" in text


@WIDTHS
def test_what_a_recipe_says_is_printed_as_it_is(
    width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe()
    tempting = recipe.refused[0].but(reason=TRAP)
    text = printed(
        print_recipe, recipe.but(refused=(tempting,)), TRAP, width=width, monkeypatch=monkeypatch
    )
    assert text.count(TRAP) == 3


@WIDTHS
def test_what_a_lever_says_is_printed_as_it_is(
    width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = [
        Choice(lever="dtype", id="fp32", what="what [/] is", baseline=True),
        Choice(lever="dtype", id="x[1]", what="-", unavailable="[Errno 2] none [red]"),
        Choice(lever="attention", id="native", what="list[int]", fidelity=Fidelity.CLOSE),
    ]
    text = printed(
        print_levers, choices, make_device(), "[b]m[/b]", width=width, monkeypatch=monkeypatch
    )
    # One word at a time: lines are folded where the terminal is narrow.
    words = {"[/]", "x[1]", "list[int]", "[Errno", "[red]", "[b]m[/b]", "(close)"}
    assert words <= set(text.split())
    assert max(len(line) for line in text.splitlines()) <= (width or 110)
    assert "2 of 3 choices can be had here" in text


@pytest.mark.parametrize("width", [60, 100, None])
def test_every_lever_and_choice_is_printed_within_the_width(
    width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = [one for found in offered_choices(make_device(), None).values() for one in found]
    text = printed(
        print_levers, choices, make_device(), None, width=width, monkeypatch=monkeypatch
    )
    assert max(len(line) for line in text.splitlines()) <= (width or 110)
    for name, lever in load_levers().items():
        assert " ".join(f"{name}: {lever.what}".split()) in " ".join(text.split())
    assert {choice.id for choice in choices} <= set(text.split())


def test_choices_that_cannot_be_had_for_one_reason_share_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choices = [
        Choice(lever="dtype", id=id, what="w", unavailable=why)
        for id, why in (("a", "no GPU here"), ("b", "too old"), ("c", "no GPU here"))
    ]
    lines = printed(
        print_levers, choices, make_device(), None, width=None, monkeypatch=monkeypatch
    ).splitlines()
    assert "  not here: a c – no GPU here" in lines
    assert "  not here: b – too old" in lines


@WIDTHS
def test_a_machine_is_printed_with_the_reason_for_what_is_unknown(
    width: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = probe_machine()
    device = make_device(
        name=TRAP, kind="cuda", driver=None, unknown={"driver": "no [permission]"}
    )
    machine = machine.but(devices=(device,), unknown={"cuda": "library [not] found"})
    text = printed(print_machine, machine, width=width, monkeypatch=monkeypatch)
    assert f"cuda: {TRAP} (cpu)" in text
    assert "  driver: unknown, no [permission]" in text
    assert "  total: 8.00 GiB" in text
    assert "cuda: unknown, library [not] found" in text


def test_a_terminal_that_says_it_has_no_columns_is_printed_to_all_the_same(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(print_result, result, width=0, monkeypatch=monkeypatch)
    assert "dtype=fp16" in text


def test_a_pipe_gets_plain_text_of_a_fixed_width() -> None:
    console = console_for(io.StringIO())
    assert console.width == 110
    console.print("bold", style="bold red")
    assert console.file.getvalue() == "bold\n"  # type: ignore[attr-defined]
