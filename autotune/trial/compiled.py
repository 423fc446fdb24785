"""What a study has compiled is used again only if it is whole (fault matrix T14).

Of a damaged cache inductor says at most a warning: it compiles what it cannot read again, and
where the library that tells it of the processor's vectors is torn it does without them, so that
trials become slower without a word (seen with torch 2.13). So each trial that generated notes what
is in the cache, by digest. What no such trial noted was left by one that was cut off.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from autotune.errors import BadInput
from autotune.files import read_capped, write_atomic
from autotune.strict_json import parse_json

CACHE, _NOTES, _LOCKS = "inductor", "inductor.json", "locks"
#: A file of it takes 200 bytes of notes: this many are 80 000.
_NOTES_BYTES, _MOST_FILES = 16 << 20, 100_000


def check_compiled(prepared: Path) -> None:
    """Drop what was left half done; put the cache aside if it is damaged, and log that."""
    cache = prepared / CACHE
    if not cache.is_dir():
        return
    noted = _noted(prepared)
    found = dict(_files(cache))
    if all(found.get(name) == digest for name, digest in noted.items()):
        for name in found.keys() - noted.keys():
            (cache / name).unlink(missing_ok=True)
        return
    number = 1
    while (aside := prepared / f"{CACHE}-damaged-{number}").exists():
        number += 1
    os.rename(cache, aside)
    (prepared / _NOTES).unlink(missing_ok=True)
    print(f"what was compiled before is damaged: it is put aside as {aside.name}")


def note_compiled(prepared: Path) -> None:
    """Note what is in the cache now, all of it whole."""
    cache = prepared / CACHE
    if cache.is_dir():
        notes = json.dumps(dict(_files(cache))).encode()
        write_atomic(prepared / _NOTES, notes, overwrite=True)


def _noted(prepared: Path) -> dict[str, str]:
    try:
        data = read_capped(prepared / _NOTES, _NOTES_BYTES)
        notes = parse_json(data, what="the notes of a cache", max_list=_MOST_FILES)
    except BadInput:
        return {}  # then all of it was left by trials that were cut off
    if not isinstance(notes, dict):
        return {}
    return {str(name): str(digest) for name, digest in notes.items()}


def _files(cache: Path) -> Iterator[tuple[str, str]]:
    for path in cache.rglob("*"):
        if path.is_file() and path.relative_to(cache).parts[0] != _LOCKS:
            with path.open("rb") as file:
                yield str(path.relative_to(cache)), hashlib.file_digest(file, "sha256").hexdigest()
