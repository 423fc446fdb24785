"""What a user may write after --model, told apart without touching the network."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import BadInput, shorten
from autotune.models.catalog import Entry, aliases, find, load_catalog

#: PATH_MAX of Linux: nothing longer names a folder, and no hub id comes near.
LONGEST_NAME = 4096
FORMS = "write a name such as flux, a hub id org/name or org/name@revision, or a folder ./name"

# As huggingface_hub.utils.validate_repo_id has it, whose import is too slow for a check of syntax.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"(?P<repository>{_PART}/{_PART})(?:@(?P<revision>.*))?")
_SHORT = re.compile(rf"(?P<alias>{_PART})(?:@(?P<revision>.*))?")
# Branches may hold slashes: refs/pr/1. It becomes part of a path in the cache, so no "..".
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class FolderName:
    """A folder that exists."""

    folder: Path


@dataclass(frozen=True, kw_only=True)
class HubName:
    """A repository of the hub; without a revision its newest one is meant."""

    repository: str
    revision: str | None
    entry: Entry | None


@dataclass(frozen=True, kw_only=True)
class DemoName:
    """The model that is built on this machine."""

    entry: Entry


def parse_name(text: str) -> FolderName | HubName | DemoName:
    """Tell what a model name means.

    A path that starts with ``/``, ``./``, ``../`` or ``~/`` is a folder. Otherwise a name of the
    catalogue wins over a folder of the same name, and a folder that exists over a hub id.

    Raises:
        BadInput: If it is malformed, the folder does not exist, or the catalogue lacks the name.
    """
    _screen(text)
    if text.startswith(("/", "~")) or text.split("/")[0] in {".", ".."}:
        return FolderName(folder=_folder(text))
    short = _SHORT.fullmatch(text)
    if short and (entry := find(short["alias"])):
        return _entry_name(entry, short["revision"])
    if os.path.lexists(text):
        return FolderName(folder=_folder(text))
    if (match := _REPOSITORY.fullmatch(text)) and ".." not in text and "--" not in text:
        repository = match["repository"]
        revision = _revision(match["revision"])
        return HubName(repository=repository, revision=revision, entry=find(repository))
    if short:
        raise BadInput(f"there is no model {shorten(text)}", hint=_suggestion(text))
    raise BadInput(f"{shorten(text)} is not a model", hint=FORMS)


def _screen(text: str) -> None:
    """Refuse what can be neither a path nor an id, before anything looks it up."""
    problem = None
    if not text:
        problem = "is empty"
    elif len(text) > LONGEST_NAME:
        problem = f"is longer than {LONGEST_NAME} characters"
    elif not text.isprintable():
        problem = "holds a character that cannot be printed"
    elif text.startswith("-"):
        problem = "starts with a dash, as an option does"
    if problem:
        raise BadInput(f"the model {shorten(text)} {problem}", hint=FORMS)


def _folder(text: str) -> Path:
    path = Path(text)
    if text.startswith("~"):
        # ~name is the home of somebody else, or a typo: only one's own is expanded.
        if text != "~" and not text.startswith("~/"):
            raise BadInput(f"{shorten(text)} is not a model", hint="write the folder in full")
        path = Path.home() / text[2:]
    try:
        folder = path.resolve(strict=True)
        is_folder = folder.is_dir()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "it cannot be followed"
        raise BadInput(f"there is no model folder {shorten(text)}: {why}", hint=FORMS) from None
    if not is_folder:
        raise BadInput(
            f"{shorten(text)} is a file; a model is a folder that holds model_index.json",
            hint="load a single file with from_single_file(), then save_pretrained(folder)",
        )
    return folder


def _entry_name(entry: Entry, revision: str | None) -> HubName | DemoName:
    if entry.hub:
        return HubName(repository=entry.hub, revision=_revision(revision), entry=entry)
    if revision is not None:
        raise BadInput(f"{entry.name} has no revisions: {shorten(revision)}", hint=FORMS)
    return DemoName(entry=entry)


def _revision(text: str | None) -> str | None:
    if text is not None and (not _REVISION.fullmatch(text) or ".." in text):
        raise BadInput(
            f"{shorten(text)} is not a revision", hint="write a branch, a tag or a commit after @"
        )
    return text


def _suggestion(text: str) -> str:
    close = difflib.get_close_matches(text.casefold(), aliases(), n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    known = ", ".join(entry.name for entry in load_catalog().entries)
    return f"known are {known}; {FORMS}"
