"""Where a book lies: a folder of this machine, or whatever fsspec reaches by a URL.

A book is a flat folder of recipes. Names of files are all that is taken from it unread.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autotune.errors import BadInput, shorten
from autotune.files import read_capped, write_atomic

#: What ``add`` names a recipe: the digest of what it says, so the name pins the content.
BY_DIGEST = re.compile(r"[0-9a-f]{64}\.json")
#: What a person may name one that is copied into the folder.
_BY_HAND = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,95}\.json")
_TEMPORARY = re.compile(r"\.autotune-[0-9a-f]{16}\.tmp")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::|://)")
_LOCK = ".autotune-lock"
#: How long another writer is waited for, and how often it is looked for. An index takes a second.
_PATIENCE_S, _PAUSE_S = 10.0, 0.02
#: No write takes so long: a temporary file older than that was left by one that was killed.
_LEFT_BEHIND_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The recipes of a book by name, each with a stamp that changes with its content.

    Where the name pins the content the stamp is empty. ``odd`` are files that are not read, with
    the reason.
    """

    stamps: Mapping[str, str]
    odd: Mapping[str, str]


class Store(Protocol):
    """Files of one flat folder, each written whole."""

    @property
    def place(self) -> str:
        """Where it is, for people; never a password."""

    def exists(self) -> bool:
        """Whether there is a book."""

    def make(self) -> None:
        """Make an empty book, unless there is one."""

    def listing(self) -> Listing:
        """What lies in it now."""

    def read(self, name: str, cap_bytes: int) -> bytes:
        """Read a file of at most so many bytes."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of one of that name."""

    def remove(self, name: str) -> None:
        """Take a file away; it may be gone already."""

    def address(self, name: str) -> str:
        """What a user calls a file."""

    def leftovers(self) -> tuple[str, ...]:
        """What writers that were killed left behind."""

    def locked(self, *, patient: bool) -> AbstractContextManager[bool]:
        """Hold the book against other writers: false where one has it, and does not let go."""


def open_store(place: str | Path) -> Store:
    """The store of a folder or a URL; nothing is looked at yet.

    Raises:
        BadInput: If it can be neither, or the URL needs what is not installed.
    """
    text = str(place)
    if not text.strip() or not text.isprintable():
        raise BadInput(f"{shorten(text)} is not a place for a book", hint="--book FOLDER")
    if _URL.match(text):
        from autotune.fleet.remote import RemoteStore

        return RemoteStore(text)
    return FolderStore(Path(text))


def default_book() -> str:
    """``$AUTOTUNE_BOOK``, else ``autotune/book`` where the system keeps a user's data."""
    if own := os.environ.get("AUTOTUNE_BOOK"):
        return own
    shared = os.environ.get("XDG_DATA_HOME", "")
    # The XDG standard says that a relative path there is to be ignored.
    base = Path(shared) if os.path.isabs(shared) else Path.home() / ".local" / "share"
    return str(base / "autotune" / "book")


def sort_out(names: Mapping[str, str], unreadable: Mapping[str, str]) -> Listing:
    """The listing of files with their stamps, and of what is no file, with the reason."""
    odd = dict(unreadable)
    stamps = {}
    for name, stamp in names.items():
        if BY_DIGEST.fullmatch(name):
            stamps[name] = ""
        elif _BY_HAND.fullmatch(name):
            stamps[name] = stamp
        else:
            odd[name] = "its name is not one for a book: letters, digits, . _ + - and .json"
    return Listing(stamps=stamps, odd=odd)


def is_recipe_name(name: str) -> bool:
    """Whether a file could be a recipe, by its name."""
    return name.endswith(".json") and not name.startswith(".")


class FolderStore:
    """A folder of this machine, or one that many mount."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        """See Store."""
        return str(self._folder)

    def exists(self) -> bool:
        """See Store."""
        return self._folder.is_dir()

    def make(self) -> None:
        """See Store."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise BadInput(
                f"no book can be made in {shorten(self.place, 200)}: {why}", hint="--book FOLDER"
            ) from None

    def listing(self) -> Listing:
        """See Store."""
        names, odd = {}, {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not is_recipe_name(entry.name):
                        continue
                    # A link may lead to whatever its maker could not read and the reader can.
                    if not entry.is_file(follow_symlinks=False):
                        odd[entry.name] = "it is not a regular file"
                        continue
                    names[entry.name] = "" if BY_DIGEST.fullmatch(entry.name) else _stamp(entry)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise BadInput(
                f"the book {shorten(self.place, 200)} cannot be read: {why}", hint="--book FOLDER"
            ) from None
        return sort_out(names, odd)

    def read(self, name: str, cap_bytes: int) -> bytes:
        """See Store."""
        return read_capped(self._folder / name, cap_bytes)

    def write(self, name: str, data: bytes) -> None:
        """See Store."""
        write_atomic(self._folder / name, data, overwrite=True)

    def remove(self, name: str) -> None:
        """See Store."""
        (self._folder / name).unlink(missing_ok=True)

    def address(self, name: str) -> str:
        """See Store."""
        return str(self._folder / name)

    def leftovers(self) -> tuple[str, ...]:
        """See Store."""
        old = time.time() - _LEFT_BEHIND_S
        found = []
        for path in self._folder.iterdir():
            try:
                if _TEMPORARY.fullmatch(path.name) and path.lstat().st_mtime < old:
                    found.append(path.name)
            except OSError:
                continue  # its writer has just renamed it
        return tuple(sorted(found))

    @contextmanager
    def locked(self, *, patient: bool) -> Iterator[bool]:
        """See Store."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock = os.open(self._folder / _LOCK, flags, 0o666)
        except OSError:
            yield False  # a folder that may only be read
            return
        try:
            yield _held(lock, _PATIENCE_S if patient else 0.0)
        finally:
            os.close(lock)


def _held(lock: int, patience_s: float) -> bool:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE_S)
        except OSError:
            return False  # a file system without locks


def _stamp(entry: os.DirEntry[str]) -> str:
    status = entry.stat(follow_symlinks=False)
    return f"{status.st_size}-{status.st_mtime_ns}"
