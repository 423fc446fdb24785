"""What a repository of the hub is made of, learnt without its weights and kept on this machine.

Configurations and tokenizers are downloaded into a folder of ours; of each file of weights only
the header is read. Nothing is written into the hub's own cache: there, a commit without its
weights would hide an older one that is complete.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from autotune.errors import AutotuneError, BadInput, CannotRun, ModelUnavailable
from autotune.files import cache_folder, read_capped, safe_join, write_atomic
from autotune.models.hub import Listing, ask_hub, list_files, wanted
from autotune.models.index import INDEX, read_index, refuse_code
from autotune.models.ranged import Reader
from autotune.models.resolve import resolve
from autotune.models.weights import BrokenModel
from autotune.records import Component, Record
from autotune.stored import read_stored

#: Ours, beside model_index.json; written last, so that without it the folder is not complete.
LEARNT = "autotune-learnt.json"
#: Thirty file names and twenty components with a line each.
_MOST_LEARNT_BYTES = 1024 * 1024
#: The newest revision, where none is named.
_DEFAULT = "main"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
#: Files that one pipeline is loaded from; the largest published ones have a hundred.
_MOST_FILES = 1000


class Learnt(Record):
    """The components of one commit, as they would be read from its complete folder."""

    format: Literal[1] = 1
    repository: str
    commit: str
    pipeline: str
    components: tuple[Component, ...]
    files: tuple[str, ...]


def learn(repository: str, revision: str | None) -> tuple[Learnt, Path]:
    """Learn what a repository is made of, and give the folder of its configurations.

    A commit is learnt once. Whether a branch or a tag still stands for it is asked again each
    time, and if the hub does not answer, it does.

    Raises:
        BadInput: If it is no diffusers pipeline, needs its own code, or has only pickled weights.
        ModelUnavailable: If the hub does not give it, and nothing of it is kept.
        CannotRun: If there is no place to keep it.
    """
    place = cache_folder("configs", repository.replace("/", "--"))
    if revision and _COMMIT.fullmatch(revision) and (known := _kept(place / revision, repository)):
        return known, place / revision
    pointer = place / f"{quote(revision or _DEFAULT, safe='')}.ref"
    try:
        listing = ask_hub(repository, revision, lambda: list_files(repository, revision))
        learnt = _learn(place, repository, revision, listing)
    except ModelUnavailable:
        commit = _pointed(pointer)
        if commit and (known := _kept(place / commit, repository)):
            return known, place / commit
        raise
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise CannotRun(
            f"what {repository} is made of cannot be kept: {why.lower()}",
            hint="free some space, or set AUTOTUNE_CACHE and TMPDIR to folders on another disk",
        ) from None
    write_atomic(pointer, learnt.commit.encode(), overwrite=True)
    return learnt, place / learnt.commit


def _pointed(pointer: Path) -> str | None:
    try:
        commit = read_capped(pointer, 64).decode("ascii")
    except (AutotuneError, ValueError):
        return None  # there is none, or one that cannot be read
    return commit if _COMMIT.fullmatch(commit) else None


def _kept(folder: Path, repository: str) -> Learnt | None:
    try:
        learnt = read_stored(folder / LEARNT, Learnt, cap_bytes=_MOST_LEARNT_BYTES)
    except AutotuneError:
        return None  # there is none, or one of another version: it is learnt anew
    same = (learnt.repository, learnt.commit) == (repository, folder.name)
    whole = all((folder / file).is_file() for file in learnt.files)
    return learnt if same and whole else None


def _learn(place: Path, repository: str, revision: str | None, listing: Listing) -> Learnt:
    if not _COMMIT.fullmatch(listing.commit):
        raise ModelUnavailable(
            f"the hub names no commit of {repository}", hint="check HF_ENDPOINT"
        )
    folder = place / listing.commit
    if known := _kept(folder, repository):
        return known
    folder.mkdir(mode=0o700, exist_ok=True)
    reader = Reader(repository=repository, revision=revision, commit=listing.commit)
    files, heavy = _small_ones(folder, reader, listing)
    with tempfile.TemporaryDirectory(prefix="autotune-") as temporary:
        copy = Path(temporary, repository.rpartition("/")[2])
        for file in files:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, copy / file)
        components = _weighed(copy, reader, heavy)
    learnt = Learnt(
        repository=repository,
        commit=listing.commit,
        pipeline=read_index(folder, what=repository).pipeline,
        components=components,
        files=files,
    )
    write_atomic(folder / LEARNT, learnt.model_dump_json().encode(), overwrite=True)
    return learnt


def _small_ones(
    folder: Path, reader: Reader, listing: Listing
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Download what is no weights into the folder; say what that is, and where the weights are."""
    _download(folder, reader, INDEX)
    index = read_index(folder, what=reader.repository)
    refuse_code(index, listing.files, what=reader.repository)
    needed = wanted(listing.files, index)
    if len(needed) > _MOST_FILES:
        raise BadInput(
            f"{reader.repository} has {len(needed)} files, and at most {_MOST_FILES} are read",
            hint="download it yourself and name its folder",
        )
    heavy = tuple(file for file in needed if file.endswith(".safetensors"))
    small = (INDEX, *(file for file in needed if file not in heavy))
    # One after the other, so that Ctrl-C ends at once; those of a try that broke off are there.
    for file in small:
        if not (folder / file).is_file():
            _download(folder, reader, file)
    return small, heavy


def _download(folder: Path, reader: Reader, file: str) -> None:
    path = safe_join(folder, file)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, reader.whole(file), overwrite=True)


def _weighed(copy: Path, reader: Reader, heavy: tuple[str, ...]) -> tuple[Component, ...]:
    """Read the components as from a complete folder, by the same code and with its every check.

    Beside a copy of the configurations come the headers of the weights, each in a file of the
    right length: what was not written to it takes no space on the disk.
    """
    for file in heavy:
        header, size = reader.header(file)
        path = safe_join(copy, file)
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as written:
            written.write(header)
            written.truncate(size)
    try:
        return resolve(str(copy)).components
    except BrokenModel as error:
        raise ModelUnavailable(
            f"{reader.repository} cannot be used: {error.message}",
            hint="the copy on the hub may be broken",
        ) from None
