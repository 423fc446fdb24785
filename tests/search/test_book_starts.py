"""A study starts from the recipes of a book: never conclusions, and the same when resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.asked import Asked, make_request
from autotune.bookkeeping import add_confirmed
from autotune.errors import BadInput, CannotRun
from autotune.fleet.book import Book, open_book
from autotune.levers.rule import RuleTable, make_rule
from autotune.recipe.schema import Recipe, RecipeModel
from autotune.search.given import fitted, starts_of
from autotune.search.request import Request
from autotune.search.samplers import make_proposals
from autotune.search.verdict import Judged
from tests.fleet.shelves import recipe
from tests.search.factory import BASELINE, LEVERS, make_space
from tests.search.test_resume import Killed, asked, go, kill_at, ran, release

MB = 1_000_000
#: The fastest of the table's world, and one that is slow there.
BEST = {**BASELINE, "dtype": "fp16", "attention": "native-flash"}
SLOW = {**BASELINE, "vae-tiling": "half"}


class Admitting:
    """What of an admission the starts ask for: rules."""

    def __init__(self, *rules: tuple[str, ...]) -> None:
        self._table = RuleTable(
            make_rule(f"rule-{n}", *when, reason="so", cite="here") for n, when in enumerate(rules)
        )

    def broken(self, candidate: Any) -> Any:
        return self._table.broken(candidate)


def of_the_demo(request: Request, choices: dict[str, str], **changes: Any) -> Recipe:
    """A recipe that was measured on the machine of a request."""
    model = request.model
    pinned = RecipeModel(
        id=model.id,
        revision=model.revision,
        source=model.source,
        pipeline=model.pipeline,
        weights=model.weights,
    )
    usual: dict[str, Any] = {
        "choices": choices,
        "on": request.fingerprint,
        "peak": 90 * MB,
        "budget": 120 * MB,
        "model": pinned,
        "workload": model.workload,
    }
    return recipe(**{**usual, **changes})


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A book with two recipes for this machine; the faster one is the better start."""
    request = make_request("demo", Asked(vram="120MB", device="cpu", runs=tmp_path / "other"))
    release(request)
    book = open_book(tmp_path / "book")
    book.add([of_the_demo(request, SLOW, seconds=1.2), of_the_demo(request, BEST, seconds=0.5)])
    return book


def with_book(folder: Path, book: Book, **changes: Any) -> Request:
    return asked(folder / "runs", book=book.store.place, **changes)


def test_the_first_candidates_are_those_of_the_book_and_their_lines_say_so(
    tmp_path: Path, book: Book
) -> None:
    result, engine, _ = go(with_book(tmp_path, book))
    assert engine.tried("screen")[:2] == [BEST, SLOW]
    assert [one.why for one in result.history.tried[:3]] == [
        "baseline",
        "start, from the book",
        "start, from the book",
    ]
    assert result.history.tried[3].why != "start, from the book"


def test_a_start_is_no_conclusion_it_is_measured_and_loses_if_it_is_slow(
    tmp_path: Path,
) -> None:
    request = make_request("demo", Asked(vram="120MB", device="cpu", runs=tmp_path / "other"))
    release(request)
    book = open_book(tmp_path / "book")
    # It claims to be a hundred times as fast as it is here.
    book.add([of_the_demo(request, SLOW, seconds=0.01)])
    result, _, _ = go(with_book(tmp_path, book))
    assert result.recipe is not None
    assert dict(result.recipe.choices) != SLOW


@pytest.mark.parametrize("sampler", ["shortlist", "tpe", "random"])
def test_every_sampler_starts_from_the_book(tmp_path: Path, book: Book, sampler: str) -> None:
    _, engine, _ = go(with_book(tmp_path, book, sampler=sampler))
    assert engine.tried("screen")[0] == BEST


def test_where_everything_is_tried_the_book_says_nothing(tmp_path: Path, book: Book) -> None:
    request = with_book(tmp_path, book, trials=None, exhaustive=True)
    result, _, _ = go(request)
    assert not any("book" in one.why for one in result.history.tried)


def test_without_a_book_nothing_is_taken(tmp_path: Path, book: Book) -> None:
    assert asked(tmp_path / "runs", book=False).starts == ()
    assert asked(tmp_path / "more").starts == ()


def test_the_default_book_is_used_if_it_is_there(
    tmp_path: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BOOK", book.store.place)
    assert asked(tmp_path / "runs").starts == (BEST, SLOW)
    assert asked(tmp_path / "more", book=False).starts == ()


def test_a_named_book_that_is_not_there_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no book in") as caught:
        asked(tmp_path / "runs", book=tmp_path / "nowhere")
    assert "--no-book" in str(caught.value.hint)
    assert not (tmp_path / "runs").exists()


def test_a_default_book_that_cannot_be_read_stops_no_study_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_BOOK", "nonsense://somewhere")
    request = asked(tmp_path / "runs")
    assert request.starts == ()
    _, _, scribe = go(request)
    assert any(one.startswith("no book is used: ") for one in scribe.sentences)


def test_broken_files_of_the_book_are_counted_and_the_rest_is_used(
    tmp_path: Path, book: Book
) -> None:
    (tmp_path / "book" / "torn.json").write_bytes(b'{"kind"')
    request = with_book(tmp_path, book)
    assert request.starts == (BEST, SLOW)
    assert request.said == (f"1 broken files are skipped in the book {book.store.place}",)


def test_what_does_not_fit_the_budget_is_no_start(tmp_path: Path, book: Book) -> None:
    assert with_book(tmp_path, book, vram="80MB").starts == ()


def test_a_quarter_of_the_trials_are_starts_whatever_the_book_has(tmp_path: Path) -> None:
    pairs = [(a, d) for a in LEVERS["attention"] for d in LEVERS["dtype"]]
    given = [{**BASELINE, "attention": a, "dtype": d} for a, d in pairs]
    assert given[0] == BASELINE
    for trials, expected in ((1, 1), (8, 2), (12, 3), (60, 3)):
        found = starts_of(given, make_space(), Admitting(), trials=trials)  # type: ignore[arg-type]
        assert found == tuple(given[1 : 1 + expected])


def test_of_many_recipes_of_the_same_choices_one_is_a_start(tmp_path: Path) -> None:
    request = make_request("demo", Asked(vram="120MB", device="cpu", runs=tmp_path / "other"))
    release(request)
    book = open_book(tmp_path / "book")
    book.add([of_the_demo(request, BEST, seconds=1 + n / 9) for n in range(9)])
    book.add([of_the_demo(request, SLOW, seconds=3)])
    assert with_book(tmp_path, book).starts == (BEST, SLOW)


# ------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("number", [2, 3, 6])
def test_an_interrupted_study_goes_on_with_what_it_took_although_the_book_has_changed(
    tmp_path: Path, book: Book, number: int
) -> None:
    whole = asked(tmp_path / "whole", book=book.store.place)
    undisturbed, _, _ = go(whole)
    first = with_book(tmp_path, book)
    with pytest.raises(Killed):
        go(first, kill_at(number))
    release(first)
    for path in (tmp_path / "book").glob("*.json"):
        path.unlink()
    again = with_book(tmp_path, book)
    assert again.folder == first.folder
    assert again.starts == (BEST, SLOW)
    result, engine, _ = go(again)
    assert ran(again.folder) == ran(whole.folder)
    assert len(engine.specs) == ran(whole.folder).total() - (number - 1)
    assert result.recipe is not None
    assert undisturbed.recipe is not None
    assert result.recipe.choices == undisturbed.recipe.choices


def test_another_book_is_another_question(tmp_path: Path, book: Book) -> None:
    first = with_book(tmp_path, book)
    release(first)
    others = open_book(tmp_path / "others")
    others.store.make()
    assert with_book(tmp_path, others).folder != first.folder
    assert with_book(tmp_path, book).folder == first.folder


# --------------------------------------------------------------------------- what is not here


def test_choices_that_are_not_here_are_the_baselines() -> None:
    chosen = {
        "dtype": "fp8",
        "attention": "native-flash",
        "offload": "model",
        "vae-tiling": "half",
    }
    assert fitted(chosen, make_space(), Admitting()) == {  # type: ignore[arg-type]
        "dtype": "bf16",
        "attention": "native-flash",
        "vae-tiling": "half",
    }


def test_what_a_rule_excludes_is_put_back_until_none_does() -> None:
    admission = Admitting(
        ("dtype=fp16", "attention=native-flash"), ("attention=native-flash", "vae-tiling=half")
    )
    chosen = {"dtype": "fp16", "attention": "native-flash", "vae-tiling": "half"}
    found = fitted(chosen, make_space(), admission)  # type: ignore[arg-type]
    assert found == {**chosen, "attention": "native"}


@settings(max_examples=60, deadline=None)
@given(
    chosen=st.fixed_dictionaries(
        {lever: st.sampled_from([*ids, "unknown"]) for lever, ids in LEVERS.items()}
    ),
    rules=st.lists(
        st.tuples(
            st.sampled_from([f"dtype={id}" for id in LEVERS["dtype"][1:]]),
            st.sampled_from([f"attention={id}" for id in LEVERS["attention"]]),
        ),
        max_size=4,
    ),
)
def test_whatever_a_recipe_chose_the_start_may_stand(
    chosen: dict[str, str], rules: list[tuple[str, ...]]
) -> None:
    admission = Admitting(*rules)
    found = fitted(chosen, make_space(), admission)  # type: ignore[arg-type]
    assert admission.broken(found) is None
    assert all(found[lever] in (BASELINE[lever], chosen[lever]) for lever in LEVERS)


def test_the_baseline_and_what_comes_twice_are_no_starts() -> None:
    given = [BASELINE, {"dtype": "fp8"}, BEST, {**BEST, "offload": "model"}, SLOW]
    assert starts_of(given, make_space(), Admitting(), trials=12) == (BEST, SLOW)  # type: ignore[arg-type]


def test_a_start_that_surely_does_not_fit_costs_no_trial() -> None:
    space = make_space()

    def expect(chosen: Any) -> Any:
        from autotune.search.pool import Expected

        return None if dict(chosen) == BEST else Expected(1.0, 50.0)

    proposals = make_proposals(
        space, expect, sampler="shortlist", budget_bytes=100, trials=8, seed=0, first=(BEST, SLOW)
    )
    asked_for = []
    for number in range(3):
        proposal = proposals.ask()
        assert proposal is not None
        asked_for.append(dict(proposal.candidate))
        proposals.tell(proposal, Judged(latency_s=1.0, peak_bytes=50, over=-0.5), number + 1)
    assert asked_for[:2] == [BASELINE, SLOW]
    assert BEST not in asked_for


# ------------------------------------------------------------------------------ and back into it


def test_what_was_confirmed_is_added_and_found(tmp_path: Path) -> None:
    request = asked(tmp_path / "runs", book=tmp_path / "new", add_to_book=True)
    assert (tmp_path / "new").is_dir(), "that it can be made is found out first"
    result, _, scribe = go(request)
    add_confirmed([result], tmp_path / "new", scribe)
    (entry,) = open_book(tmp_path / "new").entries()
    assert entry.recipe == result.recipe
    assert scribe.sentences[-1] == f"added to the book: {entry.address}"
    release(request)
    again = asked(tmp_path / "runs", book=tmp_path / "new")
    assert again.starts == (dict(entry.recipe.choices),)


def test_what_was_not_confirmed_is_not_added(tmp_path: Path) -> None:
    result, _, scribe = go(asked(tmp_path / "runs"))
    add_confirmed([replace(result, status="provisional")], tmp_path / "new", scribe)
    assert scribe.sentences[-1] == "nothing was confirmed, so nothing is added to the book"
    assert not (tmp_path / "new").exists()


def test_a_book_that_cannot_be_written_is_an_error_that_names_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _, scribe = go(asked(tmp_path / "runs"))

    def full(*_: object) -> None:
        raise CannotRun("no space left")

    monkeypatch.setattr("autotune.fleet.store.FolderStore.write", full)
    with pytest.raises(CannotRun, match="nothing was added to the book: no space left") as caught:
        add_confirmed([result], tmp_path / "new", scribe)
    assert caught.value.hint == f"autotune book add {result.recipe_path}"
