"""What prune takes out, and what it has to leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.errors import CannotRun
from autotune.fleet import store
from autotune.fleet.book import open_book
from autotune.fleet.prune import prune
from autotune.recipe.schema import Recipe
from autotune.records import Fidelity
from tests.fleet.shelves import GB, machine, recipe
from tests.fleet.test_find import NEWER_DRIVER, SIBLING

OLDER = machine({"torch": "2.12.0", "diffusers": "0.42.1"})
OTHERS = {"dtype": "fp16", "offload": "none"}


@pytest.mark.parametrize(
    ("better", "worse", "why"),
    [
        (recipe(), recipe(seconds=2, peak=9 * GB, choices=OTHERS), "slower than another"),
        (recipe(), recipe(seconds=2, choices=OTHERS), "slower than another"),
        (recipe(), recipe(seconds=2, choices=OTHERS, on=NEWER_DRIVER), "slower than another"),
        (recipe(), recipe(seconds=2, choices=OTHERS, emulated=True), "slower than another"),
        (recipe(), recipe(seconds=0.98, status="provisional"), "provisional, and another"),
        (recipe(), recipe(seconds=1.2, on=OLDER), "measured with older releases: the same"),
        (recipe(peak=8 * GB + 1), recipe(seconds=1.2), "the same choices"),
        (
            recipe(asked=Fidelity.CLOSE),
            recipe(seconds=2, choices=OTHERS, asked=Fidelity.BALANCED),
            "slower than another",
        ),
    ],
)
def test_what_is_superseded_goes_and_the_better_one_stays(
    tmp_path: Path, better: Recipe, worse: Recipe, why: str
) -> None:
    book = open_book(tmp_path / "book")
    book.add([worse, better])
    look = prune(book, dry_run=True)
    assert len(list(book.entries())) == 2
    done = prune(book)
    assert [one.entry.name for one in look.gone] == [one.entry.name for one in done.gone]
    (gone,) = done.gone
    assert gone.entry.recipe == worse
    assert gone.better.recipe == better
    assert gone.why.startswith(why)
    (left,) = book.entries()
    assert left.recipe == better
    assert set(book.index().rows) == {left.name}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (recipe(), recipe(seconds=2, peak=7 * GB, choices=OTHERS)),  # slower, but smaller
        (recipe(), recipe(seconds=2, choices=OTHERS, on=SIBLING)),  # another card
        (recipe(), recipe(seconds=2, choices=OTHERS, steps=4)),  # another workload
        (recipe(), recipe(seconds=0.9, status="provisional")),  # perhaps faster
        (recipe(emulated=True), recipe(seconds=2, choices=OTHERS)),  # not under a real budget
        (recipe(asked=Fidelity.ANY), recipe(seconds=2, choices=OTHERS)),  # other pictures
        (recipe(on=OLDER), recipe(seconds=2, choices=OTHERS)),  # faster with what is old
        (recipe(host_bytes=64 * GB), recipe(seconds=2, choices=OTHERS, host_bytes=8 * GB)),
        # The same choices, but only one of them is known to fit what the other was allowed.
        (recipe(peak=8 * GB + 1), recipe(seconds=1.2, budget=8 * GB)),
    ],
)
def test_what_somebody_may_be_answered_with_stays(
    tmp_path: Path, one: Recipe, other: Recipe
) -> None:
    book = open_book(tmp_path / "book")
    book.add([one, other])
    assert prune(book).gone == ()
    assert len(list(book.entries())) == 2


def test_of_equals_exactly_one_stays(tmp_path: Path) -> None:
    book = open_book(tmp_path / "book")
    book.add([recipe(writer=f"autotune 0.1.{n}") for n in range(5)])
    assert len(prune(book).gone) == 4
    assert len(list(book.entries())) == 1


def test_what_cannot_be_read_is_told_and_not_removed(tmp_path: Path) -> None:
    book = open_book(tmp_path / "book")
    book.add([recipe()])
    (tmp_path / "book" / "notes.json").write_text("{}")
    assert prune(book).kept == 1
    assert list(book.skipped) == ["notes.json"]
    assert (tmp_path / "book" / "notes.json").exists()


def test_nothing_is_removed_while_another_process_holds_the_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_PATIENCE_S", 0.0)
    book = open_book(tmp_path / "book")
    book.add([recipe(), recipe(seconds=2)])
    with open_book(tmp_path / "book").store.locked(patient=True):
        assert len(prune(book, dry_run=True).gone) == 1
        with pytest.raises(CannotRun, match="cannot be locked"):
            prune(book)
    assert len(list(book.entries())) == 2
