"""Lookups: exact, near, neighbour; what fits; the fastest first; and why the rest was left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.fleet.book import Book, open_book
from autotune.fleet.find import find
from autotune.recipe.schema import Recipe, RecipeGiven, RecipeModel
from autotune.records import Fidelity
from tests.fleet.shelves import COMMIT, GB, machine, recipe, wanted

NEWER_DRIVER = machine(driver="590.2")
SIBLING = machine(name="NVIDIA GeForce RTX 4090", total_bytes=24 * GB)
STRANGER = machine(name="NVIDIA A100", compute_capability="8.0", total_bytes=80 * GB)


def book_of(folder: Path, *recipes: Recipe) -> Book:
    book = open_book(folder / "book")
    book.add(recipes)
    return book


def test_exact_comes_before_near_and_near_before_neighbour_whatever_the_times(
    tmp_path: Path,
) -> None:
    book = book_of(
        tmp_path,
        recipe(seconds=1.0, on=SIBLING),
        recipe(seconds=3.0),
        recipe(seconds=2.0, on=NEWER_DRIVER),
        recipe(seconds=0.5, on=STRANGER),
    )
    answer = find(book, wanted())
    assert [(one.match, round(one.seconds)) for one in answer.found] == [
        ("exact", 3),
        ("near", 2),
        ("neighbour", 1),
    ]
    assert [one.field for one in answer.found[1].differences] == ["device.driver"]
    assert dict(answer.left_out) == {"were measured on another architecture": 1}


def test_within_a_class_the_fastest_that_fits_comes_first(tmp_path: Path) -> None:
    book = book_of(
        tmp_path,
        recipe(seconds=2.0, peak=6 * GB),
        recipe(seconds=1.0, peak=11 * GB),
        recipe(seconds=1.5, peak=9 * GB),
    )
    all_, fewer = find(book, wanted()), find(book, wanted(budget_bytes=10 * GB))
    assert [one.recipe.evidence.winner.peak_bytes // GB for one in all_.found] == [11, 9, 6]
    assert [one.recipe.evidence.winner.peak_bytes // GB for one in fewer.found] == [9, 6]
    assert dict(fewer.left_out) == {"need more memory": 1}
    assert fewer.leanest_bytes == 11 * GB


def test_a_recipe_needs_no_more_of_the_host_than_there_is(tmp_path: Path) -> None:
    book = book_of(tmp_path, recipe(host_bytes=96 * GB), recipe(host_bytes=32 * GB, seconds=2))
    assert [one.seconds > 1.5 for one in find(book, wanted()).found] == [True]
    assert len(find(book, wanted(host_bytes=None)).found) == 2


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (recipe(), "confirmed on this card"),
        (recipe(on=NEWER_DRIVER), "confirmed on this card"),
        (recipe(emulated=True), "emulated"),
        (recipe(on=SIBLING), "untested here"),
        (recipe(on=SIBLING, emulated=True), "untested here"),
        (recipe(status="provisional"), "provisional"),
        # The same card, but another release of what computes: its numbers say nothing.
        (recipe(on=machine({"torch": "2.12.0", "diffusers": "0.42.1"})), "untested here"),
    ],
)
def test_the_status_says_in_words_what_numbers_are_worth_here(
    tmp_path: Path, made: Recipe, status: str
) -> None:
    (found,) = find(book_of(tmp_path, made), wanted()).found
    assert found.status == status
    emulated = made.budget.emulated and status != "emulated"
    assert ("its budget was emulated on a larger device" in found.notes) is emulated


def test_another_workload_comes_after_the_same_one_the_nearest_first_and_is_told(
    tmp_path: Path,
) -> None:
    book = book_of(
        tmp_path, recipe(seconds=0.1, steps=4), recipe(seconds=9.0), recipe(seconds=0.5, steps=20)
    )
    found = find(book, wanted()).found
    assert [one.recipe.workload.steps for one in found] == [28, 20, 4]
    assert found[0].workload == ()
    assert found[1].workload == ("steps is 20, asked for is 28",)


def test_what_nobody_asked_of_the_workload_does_not_matter(tmp_path: Path) -> None:
    book = book_of(tmp_path, recipe(seconds=2.0), recipe(seconds=1.0, steps=4, size=512))
    found = find(book, wanted(sizes=(None,) * 5)).found
    assert [one.recipe.workload.steps for one in found] == [4, 28]
    assert all(one.workload == () for one in found)


def test_a_confirmed_recipe_comes_before_a_faster_one_that_is_provisional(tmp_path: Path) -> None:
    book = book_of(tmp_path, recipe(seconds=1.0, status="provisional"), recipe(seconds=2.0))
    assert [one.status for one in find(book, wanted()).found] == [
        "confirmed on this card",
        "provisional",
    ]


def test_what_changes_pictures_more_than_is_allowed_is_left_out(tmp_path: Path) -> None:
    book = book_of(tmp_path, recipe(asked=Fidelity.ANY), recipe(asked=Fidelity.CLOSE, seconds=2))
    assert [one.seconds > 1.5 for one in find(book, wanted()).found] == [True]
    assert len(find(book, wanted(quality=Fidelity.ANY)).found) == 2
    assert find(book, wanted(quality=Fidelity.EXACT)).found == ()
    assert len(find(book, wanted(quality=None)).found) == 2


def test_a_time_of_another_kind_is_no_answer(tmp_path: Path) -> None:
    made = recipe()
    winner = made.evidence.winner.but(firsts_s=(9.0,) * 4, first_s=9.0)
    first = made.but(objective="first", evidence=made.evidence.but(winner=winner))
    book = book_of(tmp_path, first)
    assert dict(find(book, wanted()).left_out) == {"have another objective": 1}
    (found,) = find(book, wanted(objective="first")).found
    assert found.seconds == 9.0


def test_a_revision_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    book = book_of(tmp_path, recipe())
    assert len(find(book, wanted(revision=COMMIT[:9])).found) == 1
    assert dict(find(book, wanted(revision="abcdef0")).left_out) == {"are of another revision": 1}


def test_random_weights_of_the_model_count_and_a_folder_of_its_name_does_not(
    tmp_path: Path,
) -> None:
    skeleton = RecipeModel(
        id="flux",
        revision="sha256:00",
        source="folder",
        pipeline="FluxPipeline",
        weights="random",
    )
    own = skeleton.but(weights="real")
    book = book_of(tmp_path, recipe(model=skeleton), recipe(model=own, seconds=0.5))
    (found,) = find(book, wanted()).found
    assert found.recipe.model == skeleton
    assert found.notes == ("measured with random weights: quality is not assessed",)


def test_files_that_a_recipe_was_measured_with_are_told(tmp_path: Path) -> None:
    given = RecipeGiven(component="transformer", kind="gguf", digest="sha256:" + "a" * 64)
    made = recipe()
    book = book_of(tmp_path, made.but(model=made.model.but(given=(given,))))
    (found,) = find(book, wanted()).found
    assert "needs the gguf file that was given for transformer" in found.notes[0]


def test_no_more_is_read_than_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = book_of(tmp_path, *(recipe(seconds=n) for n in range(1, 8)))
    names: list[str] = []
    entry = book.entry
    monkeypatch.setattr(book, "entry", lambda name: (names.append(name), entry(name))[1])
    answer = find(book, wanted(), most=2)
    assert (len(answer.found), answer.matching, len(names)) == (2, 7, 2)


def test_a_processor_is_a_neighbour_of_one_that_has_no_feature_less(tmp_path: Path) -> None:
    from autotune.fleet.find import match_of
    from autotune.records import Fingerprint

    def processor(name: str, features: str, arch: str = "x86_64") -> Fingerprint:
        return Fingerprint(
            device={"kind": "cpu", "name": name, "total_bytes": 8 * GB},
            host={"arch": arch, "cpu_features": features},
            software={},
        )

    here = processor("B", "avx2 avx512f")
    assert match_of(processor("A", "avx2"), here) == "neighbour"
    assert match_of(processor("A", "avx2 amx_tile"), here) is None
    assert match_of(processor("A", "avx2", "arm64"), here) is None
    assert match_of(machine(), here) is None
    assert match_of(processor("B", "avx2 avx512f"), here) == "exact"
