"""A book behind a URL, by way of fsspec: a bucket, a server, whatever has a file system there.

Nothing can be locked there, and a write may be seen half done: a recipe that is torn does not
match its digest and is skipped, an index that is torn is made anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from autotune.errors import AutotuneError, BadInput, CannotRun, one_line, shorten
from autotune.fleet.store import Listing, is_recipe_name, sort_out
from autotune.units import format_bytes

_USER = re.compile(r"(?<=://)[^/@\s]+@")
#: What file systems call that by which a changed file is told, the surest first.
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")
_Answer = TypeVar("_Answer")


class RemoteStore:
    """Files under a URL that fsspec understands."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        try:
            import fsspec
        except ImportError:
            raise BadInput(
                f"a book at {shorten(self.place)} needs fsspec, which is not installed",
                hint="pip install 'diffusers-autotune[remote]'",
            ) from None
        try:
            self._files, self._root = fsspec.core.url_to_fs(self._url)
        except Exception as error:  # whatever a file system raises that cannot be made
            raise BadInput(
                f"{shorten(self.place)} cannot be opened: {_said(error)}",
                hint="--book takes a folder, or a URL whose package fsspec finds",
            ) from None

    @property
    def place(self) -> str:
        """See Store."""
        return _USER.sub("", self._url)

    def exists(self) -> bool:
        """See Store."""
        # A bucket has no folders: an empty book is there as soon as it is written to.
        return bool(self._ask("looked at", lambda: self._files.exists(self._root)))

    def make(self) -> None:
        """See Store."""
        self._ask("made", lambda: self._files.makedirs(self._root, exist_ok=True))

    def listing(self) -> Listing:
        """See Store."""

        def listed() -> list[dict[str, Any]]:
            # What it kept of an earlier listing is not what lies there now.
            self._files.invalidate_cache()
            return list(self._files.ls(self._root, detail=True))

        names, odd = {}, {}
        for one in self._ask("listed", listed):
            name = str(one.get("name", "")).rstrip("/").rpartition("/")[2]
            if not is_recipe_name(name):
                continue
            if one.get("type") != "file":
                odd[name] = "it is not a regular file"
                continue
            seen = next((str(one[key]) for key in _STAMPS if one.get(key)), "")
            names[name] = re.sub(r"[^\w.:+ -]", "", f"{one.get('size')} {seen}")
        return sort_out(names, odd)

    def read(self, name: str, cap_bytes: int) -> bytes:
        """See Store."""
        path = self._path(name)

        def found() -> bytes:
            with self._files.open(path, "rb") as file:
                return bytes(file.read(cap_bytes + 1))

        data = self._ask(f"asked for {shorten(name)}", found)
        if len(data) > cap_bytes:
            raise BadInput(
                f"{shorten(name)} is larger than {format_bytes(cap_bytes)}",
                hint="take it out of the book",
            )
        return data

    def write(self, name: str, data: bytes) -> None:
        """See Store."""
        self._ask("written to", lambda: self._files.pipe_file(self._path(name), data))

    def remove(self, name: str) -> None:
        """See Store."""

        def away() -> None:
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                pass  # somebody else was faster

        self._ask("written to", away)

    def address(self, name: str) -> str:
        """See Store."""
        return f"{self.place}/{name}"

    def leftovers(self) -> tuple[str, ...]:
        """See Store."""
        return ()

    @contextmanager
    def locked(self, *, patient: bool) -> Iterator[bool]:
        """See Store."""
        yield True

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _ask(self, what: str, question: Callable[[], _Answer]) -> _Answer:
        try:
            return question()
        except AutotuneError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise CannotRun(
                f"the book {shorten(self.place)} cannot be {what}: {_said(error)}",
                hint="check the URL, the network, and what its package needs to sign in",
            ) from None


def _said(error: Exception) -> str:
    return _USER.sub("", one_line(f"{type(error).__name__}: {error}", 160))
