"""Real processes that write one book at once, and are killed in the middle of it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.fleet.book import open_book
from autotune.fleet.find import find
from autotune.fleet.index import NAME, read_index
from autotune.fleet.prune import prune
from tests.cli.command import environment
from tests.fleet.shelves import recipe, wanted

WRITERS = 4


@contextlib.contextmanager
def writers(
    folder: Path, count: int = WRITERS, first: int = 1
) -> Iterator[list[subprocess.Popen]]:
    """Processes that add recipes of their own until they are killed."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.writer", str(folder), str(first + n), str(count)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(count)
    ]
    try:
        yield running
    finally:
        for one in running:
            one.kill()
            one.wait()


def killed(running: list[subprocess.Popen]) -> set[str]:
    """The names that processes have told by the time at which they are killed."""
    told: set[str] = set()
    for one in running:
        one.send_signal(signal.SIGKILL)
        out, _ = one.communicate()
        # The last line may be cut off by the kill.
        told.update(line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n"))
    return told


def test_writers_that_are_killed_at_any_moment_lose_nothing_that_they_told(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    told: set[str] = set()
    for round_ in range(3):
        with writers(folder, first=1 + round_ * 10_000) as running:
            for one in running:
                assert one.stdout is not None
                told.add(one.stdout.readline().strip())
            time.sleep(0.05 + round_ * 0.11)
            told |= killed(running)
        book = open_book(folder)
        entries = {entry.name for entry in book.entries()}
        assert told <= entries
        # What was written and not told yet is there too, and whole.
        assert book.skipped == {}
        assert set(book.index().rows) == entries
        assert set(read_index((folder / NAME).read_bytes()).rows) == entries
    assert len(told) >= 3 * WRITERS


def test_readers_find_the_best_that_is_told_while_others_write_and_prune(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    open_book(folder).add([recipe(seconds=0.5)])
    end = time.monotonic() + 2.0
    lookups = 0
    with writers(folder, count=2) as running:
        while time.monotonic() < end:
            book = open_book(folder)
            answer = find(book, wanted(), most=3)
            assert answer.found[0].seconds == pytest.approx(0.5, rel=0.02)
            assert book.skipped == {}
            if lookups % 10 == 5:
                prune(book)
            lookups += 1
        assert all(one.poll() is None for one in running)
    assert lookups > 10
    gone = prune(open_book(folder))
    assert gone.kept == 1
    assert len(find(open_book(folder), wanted()).found) == 1


def test_what_a_killed_writer_left_half_written_is_no_recipe_and_goes_with_prune(
    tmp_path: Path,
) -> None:
    import os

    folder = tmp_path / "book"
    open_book(folder).add([recipe()])
    left, fresh = folder / f".autotune-{'a' * 16}.tmp", folder / f".autotune-{'b' * 16}.tmp"
    for path in (left, fresh):
        path.write_bytes(b'{"kind": "autotune-rec')
    os.utime(left, (1, 1))
    book = open_book(folder)
    assert len(find(book, wanted()).found) == 1
    assert prune(book, dry_run=True).leftovers == (left.name,)
    assert left.exists()
    assert prune(book).leftovers == (left.name,)
    # A writer may still be at the other one.
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_writer_that_hangs_with_the_lock_stops_no_reader_and_no_writer(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    book = open_book(folder)
    book.add([recipe()])
    with book.store.locked(patient=True) as alone:
        assert alone
        other = open_book(folder)
        with other.store.locked(patient=False) as also:
            assert not also
        assert len(find(other, wanted()).found) == 1
