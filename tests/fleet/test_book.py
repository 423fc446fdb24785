"""The book: what is in it is read strictly, the index is never believed, nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from autotune.errors import AutotuneError, BadInput, BadRecipe
from autotune.files import canonical_json, digest
from autotune.fleet.book import Book, open_book
from autotune.fleet.find import find
from autotune.fleet.index import NAME, NotAnIndex, read_index
from autotune.fleet.store import default_book
from autotune.recipe.read import read_recipe
from autotune.recipe.write import render_recipe, write_recipe
from tests.fleet.shelves import GB, machine, recipe, wanted
from tests.recipe.factory import make_document, make_recipe, sign


@pytest.fixture
def book(tmp_path: Path) -> Book:
    book = open_book(tmp_path / "book")
    book.add([recipe(seconds=n) for n in (1, 2, 3)])
    return book


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "book"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.json"))


def seconds(book: Book) -> list[int]:
    return [round(one.seconds) for one in find(book, wanted()).found]


def test_a_recipe_is_named_by_its_digest_and_read_back_the_same(folder: Path, book: Book) -> None:
    for name in names(folder):
        assert json.loads((folder / name).read_bytes())["digest"] == f"sha256:{name[:-5]}"
    assert read_recipe(folder / names(folder)[0]) in [recipe(seconds=n) for n in (1, 2, 3)]


def test_adding_a_recipe_again_changes_nothing(folder: Path, book: Book) -> None:
    before = {name: (folder / name).stat().st_mtime_ns for name in names(folder)}
    (added,) = book.add([recipe(seconds=1)])
    assert not added.new
    assert {name: (folder / name).stat().st_mtime_ns for name in names(folder)} == before


def test_a_recipe_that_was_damaged_is_made_good_by_adding_it_again(
    folder: Path, book: Book
) -> None:
    (added,) = book.add([recipe(seconds=1)])
    (folder / added.name).write_bytes(b'{"kind": "auto')
    assert seconds(open_book(folder)) == [2, 3]
    (added,) = book.add([recipe(seconds=1)])
    assert added.new
    assert seconds(open_book(folder)) == [1, 2, 3]


def test_a_recipe_that_was_changed_by_hand_is_not_added(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="changed by hand"):
        open_book(tmp_path / "new").add([make_recipe(modified=True)])
    assert not (tmp_path / "new").exists()


def test_a_recipe_that_a_person_copied_into_the_folder_counts_and_so_does_its_change(
    folder: Path, book: Book
) -> None:
    write_recipe(recipe(seconds=4), folder / "my flux.json".replace(" ", "-"))
    assert seconds(open_book(folder)) == [1, 2, 3, 4]
    write_recipe(recipe(seconds=0.6), folder / "my-flux.json", overwrite=True)
    os.utime(folder / "my-flux.json", ns=(1, 1))
    assert seconds(open_book(folder)) == [1, 1, 2, 3]
    (folder / "my-flux.json").unlink()
    assert seconds(open_book(folder)) == [1, 2, 3]


# ------------------------------------------------------------------------- broken and hostile


def _hostile() -> dict[str, bytes]:
    document = make_document()
    lie = json.loads(json.dumps(document))
    lie["evidence"]["winner"]["latency_s"] = 0.001
    private = {**document, "budget": {**document["budget"], "asked": "/home/ann/secret"}}  # type: ignore[dict-item]
    return {
        "empty.json": b"",
        "torn.json": render_recipe(make_recipe())[:1000],
        "lie.json": sign(lie),
        "private.json": sign(private),
        "code.json": b"\x80\x04cos\nsystem\n",
        "deep.json": b"[" * 100_000,
        "large.json": b" " * (300 * 1024),
        "modified.json": render_recipe(make_recipe(modified=True)),
        "other.json": b'{"kind": "something else"}',
        # Another recipe's digest as its name.
        "0" * 64 + ".json": render_recipe(make_recipe()),
        'we"ird\\.json': render_recipe(make_recipe()),
        "esc\x1b[31m.json": b"{}",
    }


@pytest.mark.parametrize("name", _hostile())
def test_a_broken_or_hostile_file_is_skipped_and_named_and_the_rest_is_found(
    folder: Path, book: Book, name: str
) -> None:
    (folder / name).write_bytes(_hostile()[name])
    for _ in range(2):
        again = open_book(folder)
        assert seconds(again) == [1, 2, 3]
        assert list(again.skipped) == [name]
        assert again.skipped[name]
        assert len(list(open_book(folder).entries())) == 3


def test_a_link_a_pipe_and_a_folder_are_no_recipes(
    tmp_path: Path, folder: Path, book: Book
) -> None:
    outside = tmp_path / "outside.json"
    write_recipe(recipe(seconds=9), outside)
    (folder / "link.json").symlink_to(outside)
    os.mkfifo(folder / "pipe.json")
    (folder / "folder.json").mkdir()
    again = open_book(folder)
    assert seconds(again) == [1, 2, 3]
    assert again.skipped == dict.fromkeys(
        ("link.json", "pipe.json", "folder.json"), "it is not a regular file"
    )


def test_what_was_half_written_when_it_was_read_is_read_again(folder: Path, book: Book) -> None:
    late = render_recipe(recipe(seconds=4))
    name = json.loads(late)["digest"].removeprefix("sha256:") + ".json"
    (folder / name).write_bytes(late[:500])
    assert seconds(open_book(folder)) == [1, 2, 3]
    (folder / name).write_bytes(late)
    assert seconds(open_book(folder)) == [1, 2, 3, 4]


# -------------------------------------------------------------------------------------- index


def test_an_index_that_is_missing_or_garbage_is_made_anew(folder: Path, book: Book) -> None:
    whole = (folder / NAME).read_bytes()
    head, _, body = whole.partition(b"\n")
    for garbage in (None, b"", b"\0" * 100, b"[" * 10_000, b"{}\n", whole[:-40], head, body):
        (folder / NAME).unlink()
        if garbage is not None:
            (folder / NAME).write_bytes(garbage)
        assert seconds(open_book(folder)) == [1, 2, 3]
        read_index((folder / NAME).read_bytes())


def _forged(folder: Path, old: bytes, new: bytes) -> None:
    """An index that says something else, and whose digest is right."""
    head, _, body = (folder / NAME).read_bytes().partition(b"\n")
    assert old in body
    body = body.replace(old, new)
    said = {**json.loads(head), "digest": digest(body)}
    (folder / NAME).write_bytes(canonical_json(said) + b"\n" + body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"8000000000", b"1"),  # recipes that are said to take no memory
        (b",1.005,", b",0.001,"),  # the fastest of all
        (b'"real"', b'"random"'),
        (b"8000000000", b'"8000000000"'),
        (b"8000000000", b"1e999"),
        (b",0,", b",7,"),  # a machine that is not there
        (b",0,", b",-1,"),
        (b'"580.1"', b'"590.2"'),  # another machine
        (b'"balanced"', b'"nonsense"'),
        (b",1024,", b",1" + b"0" * 400 + b","),
    ],
)
def test_an_index_that_lies_is_found_out(folder: Path, book: Book, old: bytes, new: bytes) -> None:
    _forged(folder, old, new)
    assert seconds(open_book(folder)) == [1, 2, 3]
    # It was made anew, and is right from now on.
    kept = read_index((folder / NAME).read_bytes())
    assert {row.peak_bytes for row in kept.about(None)} == {8 * GB}


def test_an_index_that_cannot_be_used_is_told_apart_whatever_its_bytes_are() -> None:
    for data in (b"", b"\n", b"null\n", b'{"format": 1}\n', b"\xff\xfe\n", b'"' * 50):
        with pytest.raises(NotAnIndex):
            read_index(data)


def test_only_what_is_new_is_read_again(
    folder: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(recipe(seconds=4), folder / "by-hand.json")
    again = open_book(folder)
    read: list[str] = []
    entry = again.entry
    monkeypatch.setattr(again, "entry", lambda name: (read.append(name), entry(name))[1])
    again.index()
    assert read == ["by-hand.json"]
    again.index()
    assert read == ["by-hand.json"]


def test_a_book_that_may_only_be_read_is_read(folder: Path, book: Book) -> None:
    (folder / NAME).unlink()
    write_recipe(recipe(seconds=4), folder / "by-hand.json")
    mode = folder.stat().st_mode
    # Root may write everywhere: then what is refused is the lock, which is no regular file.
    (folder / ".autotune-lock").unlink()
    (folder / ".autotune-lock").symlink_to(folder / "nowhere")
    folder.chmod(0o555)
    try:
        assert seconds(open_book(folder)) == [1, 2, 3, 4]
    finally:
        folder.chmod(mode)
    assert not (folder / NAME).exists()


# ------------------------------------------------------------------------------------- places


def test_where_there_is_no_book_is_said_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no book in") as caught:
        open_book(tmp_path / "nowhere").index()
    assert "autotune book add" in str(caught.value.hint)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("place", ["", "  ", "a\0b", "line\nbreak"])
def test_what_can_be_no_place_is_refused(place: str) -> None:
    with pytest.raises(BadInput, match="is not a place for a book"):
        open_book(place)


def test_a_book_cannot_be_made_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AutotuneError, match="file"):
        open_book(tmp_path / "file" / "book").add([recipe()])


def test_the_default_is_what_the_environment_says_else_where_data_of_users_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AUTOTUNE_BOOK", "somewhere")
    assert default_book() == "somewhere"
    monkeypatch.delenv("AUTOTUNE_BOOK")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_book() == "/data/autotune/book"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_book() == "/home/ann/.local/share/autotune/book"


def test_recipes_of_many_machines_share_their_fingerprints_in_the_index(
    tmp_path: Path,
) -> None:
    book = open_book(tmp_path / "book")
    book.add([recipe(seconds=n, on=machine(driver=str(n % 2))) for n in range(1, 7)])
    index = read_index((tmp_path / "book" / NAME).read_bytes())
    assert {row.machine for row in index.about(None)} == {0, 1}
