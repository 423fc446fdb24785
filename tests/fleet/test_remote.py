"""A book behind a URL: the same promises, without locks and atomic writes."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import pytest

from autotune.errors import AutotuneError, BadInput, CannotRun
from autotune.fleet.book import open_book
from autotune.fleet.find import find
from autotune.fleet.index import NAME
from autotune.fleet.prune import prune
from tests.fleet.shelves import recipe, wanted

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(params=["memory", "local"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return f"local://{tmp_path}/book"
    return f"memory://{uuid.uuid4().hex}/book"


def test_recipes_are_added_found_and_pruned_there(url: str) -> None:
    with pytest.raises(BadInput, match="there is no book"):
        open_book(url).index()
    book = open_book(url)
    added = book.add([recipe(seconds=2), recipe(seconds=1), recipe(seconds=1)])
    assert [one.new for one in added] == [True, True, False]
    assert added[0].address == f"{url}/{added[0].name}"
    answer = find(open_book(url), wanted())
    assert [round(one.seconds) for one in answer.found] == [1, 2]
    assert len(prune(open_book(url)).gone) == 1
    assert len(find(open_book(url), wanted()).found) == 1


def test_a_torn_recipe_and_a_torn_index_are_passed_over_and_made_good(url: str) -> None:
    book = open_book(url)
    (added, _) = book.add([recipe(seconds=1), recipe(seconds=2)])
    files, root = fsspec.core.url_to_fs(url)
    for name in (added.name, NAME):
        files.pipe_file(f"{root}/{name}", files.cat_file(f"{root}/{name}")[:-300])
    again = open_book(url)
    assert [round(one.seconds) for one in find(again, wanted()).found] == [2]
    assert list(again.skipped) == [added.name]
    again.add([recipe(seconds=1)])
    assert len(find(open_book(url), wanted()).found) == 2


def test_a_file_that_is_too_large_is_not_read_whole(url: str) -> None:
    open_book(url).add([recipe()])
    files, root = fsspec.core.url_to_fs(url)
    files.pipe_file(f"{root}/large.json", b" " * (1 << 20))
    book = open_book(url)
    assert len(find(book, wanted()).found) == 1
    assert "larger than 256 KiB" in book.skipped["large.json"]


def test_without_fsspec_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(BadInput, match="needs fsspec, which is not installed") as caught:
        open_book("s3://bucket/book")
    assert caught.value.hint == "pip install 'diffusers-autotune[remote]'"


@pytest.mark.parametrize("url", ["nonsense://ann:hunter2@host/book", "::", "zip://x::y://z"])
def test_a_url_that_nothing_understands_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(AutotuneError) as caught:
        open_book(url).index()
    assert "hunter2" not in caught.value.message


def test_what_a_file_system_raises_is_told_in_one_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = open_book(url)
    book.add([recipe()])

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("503 slow down\nat http://ann:hunter2@host")

    monkeypatch.setattr(book.store._files, "ls", broken)  # type: ignore[attr-defined]
    with pytest.raises(CannotRun, match="cannot be listed: RuntimeError: 503 slow down") as caught:
        book.index()
    assert "hunter2" not in caught.value.message
