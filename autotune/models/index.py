"""What a diffusers folder says it is: model_index.json, read without importing diffusers.

A repository that needs code of its own is refused: autotune runs only what the installed diffusers
and transformers contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from autotune.errors import BadInput, CannotRun, shorten
from autotune.files import parse_json, read_capped
from autotune.records import Record

INDEX = "model_index.json"
#: Published ones are below 2 kB.
MOST_INDEX_BYTES = 256 * 1024
#: A configuration may carry per-channel statistics of a VAE, or a long list of special tokens.
MOST_CONFIG_BYTES = 1024 * 1024
_AGAIN = "a model is a folder that pipeline.save_pretrained() wrote"
#: Distributions whose classes may be loaded, besides the pipelines' own modules in diffusers.
LIBRARIES = ("diffusers", "transformers")

#: Files beside the weights that a component may be loaded from: configurations and tokenizers.
SMALL_FILES = (".json", ".txt", ".model", ".jinja")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Part(Record):
    """One component as model_index.json names it."""

    name: str
    library: str
    class_name: str


class Index(Record):
    """A pipeline class and its components, in the order of the file, empty ones left out."""

    pipeline: str
    parts: tuple[Part, ...]


def read_index(folder: Path, *, what: str) -> Index:
    """Read and check model_index.json.

    Args:
        folder: The folder of the pipeline.
        what: The model, for the messages.

    Raises:
        BadInput: If it is missing or malformed, or the pipeline needs code that is not installed.
    """
    document = read_config(folder / INDEX, what=f"{INDEX} of {what}")
    pipeline = _pipeline(document.get("_class_name"), what)
    parts = []
    for name, value in document.items():
        # Lists are components; anything else is an option of the pipeline. diffusers reads it so.
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        parts.append(_part(name, value, what))
    if not parts:
        raise BadInput(f"{INDEX} of {what} names no components", hint="save the pipeline again")
    return Index(pipeline=pipeline, parts=tuple(parts))


def refuse_code(index: Index, files: Iterable[str], *, what: str) -> None:
    """Refuse a model that has Python files beside a component.

    Args:
        index: Its components.
        files: The names of its files, relative to its folder, with slashes.
        what: The model, for the message.

    Raises:
        BadInput: If there is one.
    """
    components = {part.name for part in index.parts}
    for name in files:
        path = PurePosixPath(name)
        if path.suffix == ".py" and path.parts[0] in components:
            raise _remote_code(what, f"it brings {shorten(name)}")


def read_config(path: Path, *, what: str) -> dict[str, object]:
    """Read a JSON object of a pipeline's folder.

    Raises:
        BadInput: If it is missing, too large or not one.
    """
    if not path.is_file():
        raise BadInput(f"{what} is missing", hint="a model is a folder of save_pretrained()")
    data = read_capped(path, MOST_CONFIG_BYTES if path.name != INDEX else MOST_INDEX_BYTES)
    document = parse_json(data, what=what, max_string=65_536, max_list=65_536)
    if not isinstance(document, dict):
        raise BadInput(f"{what} is not a JSON object", hint=_AGAIN)
    return document


def _pipeline(name: object, what: str) -> str:
    if isinstance(name, list):
        raise _remote_code(what, f"its pipeline is {shorten(name)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(f"{INDEX} of {what} names no pipeline class: {shorten(name)}", hint=_AGAIN)
    if "Pipeline" not in name or not _in_diffusers(name):
        raise BadInput(
            f"the installed diffusers ({version('diffusers')}) has no pipeline {name}, "
            f"which {what} needs",
            hint="pip install --upgrade diffusers; pipelines with code of their own are not run",
        )
    return name


def _part(name: str, value: list[object], what: str) -> Part:
    match value:
        case [str(library), str(class_name)] if _NAME.fullmatch(name):
            if not _NAME.fullmatch(class_name):
                raise BadInput(
                    f"{INDEX} of {what} names a class {shorten(class_name)}", hint=_AGAIN
                )
            if library not in LIBRARIES and not _pipeline_module(library):
                raise _remote_code(what, f"its {name} comes from {shorten(library)}")
            return Part(name=name, library=library, class_name=class_name)
    raise BadInput(f"{INDEX} of {what} has a malformed component {shorten(name)}", hint=_AGAIN)


def _remote_code(what: str, why: str) -> BadInput:
    return BadInput(
        f"{what} needs Python code of its own, which is not run: {why}",
        hint="take a model whose classes are part of diffusers and transformers",
    )


def _pipeline_module(library: str) -> bool:
    """Whether it is a module of diffusers.pipelines, as a safety checker's is."""
    return bool(_NAME.fullmatch(library)) and (_diffusers() / "pipelines" / library).is_dir()


@cache
def _in_diffusers(class_name: str) -> bool:
    # Its lazy import table lists every public class as a string; importing it takes seconds.
    table = (_diffusers() / "__init__.py").read_text(encoding="utf-8")
    return f'"{class_name}"' in table


@cache
def _diffusers() -> Path:
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        raise CannotRun("diffusers is not installed", hint="pip install diffusers")
    return Path(spec.origin).parent
