"""Search-space files: which choices of which levers a study considers.

``search_spaces/default.toml`` holds for every model, ``<family>.toml`` states what differs, and
``--space`` names another file. Each lever's entry is ``"all"``, ``"baseline"``, or a list of ids.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from autotune.errors import BadInput, one_line, shorten
from autotune.files import read_capped
from autotune.records import Fidelity, Record
from autotune.strict_json import check_format

#: A space file is a few hundred bytes; the cap also bounds nesting (TOML 2 000 levels deep fits
#: no parser's stack).
_CAP_BYTES = 64 * 1024

_FORMAT = 1
_WHAT_IT_IS = 'a lever\'s entry under [levers] is "all", "baseline", or a list of choice ids'

Wanted = Literal["all", "baseline"] | tuple[str, ...]


class Definition(Record):
    """A search space: which choices of which levers a study considers, the first ones first."""

    format: Literal[1] = Field(default=1, description="The version of the format.")
    about: str = Field(default="", description="What the space is for, for people.")
    quality: Annotated[Fidelity, Field(strict=False)] = Field(
        default=Fidelity.ANY,
        description="How much a setup may change the picture at most, whatever --quality says.",
    )
    levers: Mapping[str, Wanted] = Field(
        default={},
        description='By lever "all", "baseline", or a list of choices; others are left alone.',
    )


def load_definition(family: str | None, space: str | None = None) -> Definition:
    """The default space, overlaid by the family's, overlaid by the one that was asked for.

    Args:
        family: The model's family, if it has one.
        space: The name of a shipped space, or the path of a TOML file.

    Raises:
        BadInput: If a file is missing or not a search space.
    """
    paths = [shipped_folder() / "default.toml"]
    if family is not None and (shipped_folder() / f"{family}.toml").exists():
        paths.append(shipped_folder() / f"{family}.toml")
    if space is not None:
        paths.append(_asked(space))
    merged = Definition()
    for path in paths:
        own = read_definition(path)
        # What the more special file names is tried first.
        rest = {name: wanted for name, wanted in merged.levers.items() if name not in own.levers}
        merged = Definition(
            quality=min(own.quality, merged.quality, key=list(Fidelity).index),
            levers={**own.levers, **rest},
        )
    return merged


def read_definition(path: Path) -> Definition:
    """Read one file strictly.

    Raises:
        BadInput: Naming the file and the place.
    """
    name = shorten(path.name)
    document = _document(read_capped(path, _CAP_BYTES), name)
    check_format(document.get("format", _FORMAT), known=_FORMAT, what=name)
    levers = document.get("levers", {})
    if isinstance(levers, dict):
        for lever, wanted in levers.items():
            if isinstance(wanted, list):
                levers[lever] = _checked_list(name, one_line(lever), wanted)
    try:
        return Definition.model_validate(document)
    except ValidationError as error:
        raise _wrong(error, name) from None


def _document(data: bytes, name: str) -> dict[str, Any]:
    try:
        text = data.decode("utf-8")
        why = "it starts with a byte order mark" if text.startswith("\ufeff") else ""
        if not why:
            return tomllib.loads(text)
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is no UTF-8 text"
    except RecursionError:
        why = "it is nested too deeply"
    except tomllib.TOMLDecodeError as error:
        why = one_line(str(error)[:1].lower() + str(error)[1:])
    except ValueError:  # the digits that Python converts are numbered
        why = "a number has too many digits"
    raise BadInput(f"{name} is not a TOML file: {why}", hint=_WHAT_IT_IS)


def _wrong(error: ValidationError, name: str) -> BadInput:
    """What does not fit, where."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = one_line(".".join(str(step) for step in first["loc"][:2]))
    if first["type"] == "extra_forbidden":
        known = list(Definition.model_fields)
        close = difflib.get_close_matches(where, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return BadInput(f"{name} has an unknown key {shorten(where)}", hint=hint)
    # "Input should be …" of something that people call otherwise.
    wish = one_line(first["msg"].lower().removeprefix("input ")).replace("dictionary", "table")
    return BadInput(f"{name}: {where} {wish}, not {shorten(first['input'])}", hint=_WHAT_IT_IS)


def _checked_list(name: str, lever: str, wanted: list[object]) -> tuple[object, ...]:
    if not wanted:
        raise BadInput(f"{name}: levers.{lever} is an empty list", hint="leave the lever out")
    for choice in wanted:
        if not isinstance(choice, str):
            raise BadInput(
                f"{name}: levers.{lever}: {shorten(choice)} is not a choice id",
                hint=_WHAT_IT_IS,
            )
        if wanted.count(choice) > 1:
            raise BadInput(
                f"{name}: levers.{lever} names {shorten(choice)} twice", hint="name it once"
            )
    return tuple(wanted)


def shipped_folder() -> Path:
    """Where the shipped spaces lie: in the wheel inside the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "search_spaces"
    return installed if installed.is_dir() else package.parent / "search_spaces"


def shipped_names() -> tuple[str, ...]:
    """The names ``--space`` takes."""
    return tuple(sorted(path.stem for path in shipped_folder().glob("*.toml")))


def _asked(space: str) -> Path:
    if space in shipped_names():
        return shipped_folder() / f"{space}.toml"
    if not space.endswith(".toml"):
        raise BadInput(
            f"there is no search space {shorten(space)}",
            hint=f"one of {', '.join(shipped_names())}, or the path of a .toml file",
        )
    return Path(space)
