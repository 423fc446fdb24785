"""Have a skeleton written, by a process of its own: torch is imported there, not here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import BadInput, CannotRun, shorten
from autotune.files import cache_folder, make_folder
from autotune.models.catalog import Entry
from autotune.models.demo.build import MARKER
from autotune.models.index import INDEX, read_config
from autotune.models.naming import FolderName, parse_name
from autotune.models.published import entries_with_parts, weight_bytes
from autotune.models.skeleton.build import marker
from autotune.processes import own_environment
from autotune.units import format_bytes

#: Configurations, tokenizers, and what a file system takes for itself.
_BESIDE = 1 << 30
#: A tiny skeleton is some megabytes; the largest has SD3.5's table of positions.
_TINY_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """A folder that was written, or was there."""

    folder: Path
    model: str
    bytes: int
    seconds: float


def make_skeleton(
    model: str, folder: Path, *, tiny: bool = False, quiet: bool = False
) -> Skeleton:
    """Write a complete diffusers folder of a catalogue model with random weights.

    Args:
        model: A name of the catalogue.
        folder: A new or empty folder, or one where this was broken off.
        tiny: Small enough for tests: same classes, narrow and shallow.
        quiet: Say nothing on standard error.

    Raises:
        BadInput: If the model's components are not known, or the folder holds something else.
        CannotRun: If the disk is too small, or the writer fails.
    """
    entry = _entry(model)
    began = time.monotonic()
    _check_folder(folder, entry, tiny=tiny)
    if not (folder / INDEX).is_file():
        _check_disk(folder, _TINY_BYTES if tiny else weight_bytes(entry))
        make_folder(folder)
        _write(entry, folder, tiny=tiny, quiet=quiet)
    return Skeleton(
        folder=folder,
        model=entry.name,
        bytes=sum(path.stat().st_size for path in _files(folder)),
        seconds=time.monotonic() - began,
    )


def cached_skeleton(model: str) -> Path:
    """The full-size skeleton of a catalogue model in the cache; it is written on first use.

    Raises:
        BadInput: If the model's components are not known.
        CannotRun: If the disk is too small, or the writer fails.
    """
    entry = _entry(model)
    folder = cache_folder("skeletons") / entry.name
    return make_skeleton(entry.name, folder, quiet=True).folder


def _entry(model: str) -> Entry:
    name = parse_name(model)
    entry = None if isinstance(name, FolderName) else name.entry
    if entry is None or not entry.parts:
        known = ", ".join(one.name for one in entries_with_parts())
        raise BadInput(
            f"what {shorten(model)} is made of is not known here", hint=f"known: {known}"
        )
    return entry


def _check_folder(folder: Path, entry: Entry, *, tiny: bool) -> None:
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    except OSError as error:
        raise BadInput(
            f"the folder {shorten(str(folder))} cannot be read: {error.strerror}",
            hint="name another folder",
        ) from None
    if not (folder / MARKER).is_file():
        raise BadInput(
            f"{shorten(str(folder))} is there and is no skeleton", hint="name a new folder"
        )
    found = read_config(folder / MARKER, what=MARKER)
    if found != marker(entry, tiny=tiny):
        size = "tiny " if found.get("tiny") else ""
        raise BadInput(
            f"{shorten(str(folder))} holds a {size}skeleton of {shorten(str(found.get('model')))}",
            hint="name a new folder",
        )


def _check_disk(folder: Path, wanted: int) -> None:
    place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    there = sum(path.stat().st_size for path in _files(folder))
    free = shutil.disk_usage(place).free
    if free < wanted - there + _BESIDE:
        raise CannotRun(
            f"the skeleton takes {format_bytes(wanted)}, and {format_bytes(free)} are free there",
            hint="name a folder on a larger disk, or use --scale tiny",
        )


def _write(entry: Entry, folder: Path, *, tiny: bool, quiet: bool) -> None:
    command = [sys.executable, "-m", "autotune.models.skeleton.build"]
    command += [entry.name, str(folder.absolute())]  # which cannot be taken for an option
    command += ["--tiny"] if tiny else []
    with tempfile.TemporaryFile("w+", errors="replace") as log:  # where libraries warn
        process = subprocess.Popen(
            command,
            env=own_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if not quiet:
                    print(f"  {line}", end="", file=sys.stderr, flush=True)
        except BaseException:
            process.terminate()
            raise
        finally:
            code = process.wait()
        log.seek(0)
        said = [line.strip() for line in log if line.strip()]
    if code:
        raise CannotRun(
            f"the skeleton could not be written: {shorten(said[-1]) if said else 'no message'}",
            hint="the same command goes on where this one stopped",
        )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
