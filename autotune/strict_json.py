"""Strict JSON: reads one document and nothing that Python reads beyond JSON; writes one form."""

from __future__ import annotations

import hashlib
import json
import math
import re

from autotune.errors import BadInput, shorten

#: What to do about a document that is none.
FORMS = "it has to be one JSON document, as UTF-8 text and nothing else"
#: As many as 2**64 has; Python itself gives up at 4300.
MOST_DIGITS = 20
#: The longest that Python prints a float is 24 characters.
LONGEST_NUMBER = 40

# Each alternative takes its whole token without backtracking, so the time is linear.
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.?)*+"?)|(?P<open>[\[{])|(?P<close>[\]}])'
    r"|(?P<number>-?[0-9][-+.0-9eE]*+)|(?P<word>-?[A-Za-z]++)",
    re.DOTALL,
)
_HALF_OR_NUL = re.compile("[\0\ud800-\udfff]")


def parse_json(
    data: bytes,
    *,
    what: str,
    max_depth: int = 16,
    max_string: int = 4096,
    max_list: int = 1000,
    is_line: bool = False,
) -> object:
    """Read one JSON document, and nothing that Python reads beyond JSON.

    Refused: a byte order mark, invalid UTF-8, duplicate keys, NaN and infinity in any
    spelling, integers of more than 20 digits, ``-0``, half a surrogate pair or NUL in a
    string, trailing data, and anything deeper or longer than the limits.

    Args:
        data: The bytes of the document.
        what: What it should be, for the messages.
        max_depth: How deep objects and lists may be nested.
        max_string: Characters in one string.
        max_list: Entries in one list or object.
        is_line: Whether it is a line of a file that ``what`` names: then only columns are told.

    Raises:
        BadInput: With the line and column where there is one.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{what} is not UTF-8 text: byte {error.start} is wrong", hint=FORMS
        ) from None
    if text.startswith("\ufeff"):
        raise BadInput(f"{what} starts with a byte order mark", hint="save it as plain UTF-8")
    _scan(text, what, max_depth, max_string, is_line)

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        _refuse_long(len(items), what, max_list)
        found: dict[str, object] = {}
        for key, value in items:
            if key in found:
                raise BadInput(
                    f"{what} has the key {shorten(key)} twice in one object", hint=FORMS
                )
            found[key] = value
        return found

    try:
        value: object = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        place = _place(error.lineno, error.colno, is_line)
        problem = error.msg.removesuffix(" at").removesuffix(" starting").lower()
        raise BadInput(f"{what} is not JSON: {problem} at {place}", hint=FORMS) from None
    _refuse_long_lists(value, what, max_list)
    return value


def _place(line: int, column: int, is_line: bool) -> str:
    return f"column {column}" if is_line else f"line {line}, column {column}"


def _scan(text: str, what: str, max_depth: int, max_string: int, is_line: bool) -> None:
    """Refuse by token what the parser of the standard library accepts, or chokes on."""
    depth = 0
    for token in _TOKEN.finditer(text):
        problem = None
        if token.lastgroup == "open":
            depth += 1
            problem = f"nested deeper than {max_depth}" if depth > max_depth else None
        elif token.lastgroup == "close":
            depth -= 1
        elif token.lastgroup == "string":
            problem = _string_problem(token[0], max_string)
        elif token.lastgroup == "number":
            problem = _number_problem(token[0])
        elif token[0] not in {"true", "false", "null"}:
            problem = f"{shorten(token[0])} is not a JSON value"
        if problem:
            line = text.count("\n", 0, token.start()) + 1
            column = token.start() - text.rfind("\n", 0, token.start())
            place = _place(line, column, is_line)
            raise BadInput(f"{what} is refused at {place}: {problem}", hint=FORMS)


def _string_problem(token: str, max_string: int) -> str | None:
    try:
        value = json.loads(token)
    except ValueError:
        return None  # the parser says it better
    if len(value) > max_string:
        return f"a string longer than {max_string} characters"
    if _HALF_OR_NUL.search(value):
        return "a string with a NUL or half a surrogate pair"
    return None


def _number_problem(token: str) -> str | None:
    if len(token) > LONGEST_NUMBER:
        return f"a number of {len(token)} characters"
    digits = token.removeprefix("-")
    if digits.isdigit() and len(digits) > MOST_DIGITS:
        return f"an integer of {len(digits)} digits"
    if token == "-0":
        return "-0 is not a number that anybody measured"
    try:
        return None if math.isfinite(float(token)) else f"{shorten(token)} is too large"
    except ValueError:
        return None  # the parser says it better


def _refuse_long_lists(value: object, what: str, most: int) -> None:
    # Depth is bounded by now, so recursion is too. Objects were checked while they were read.
    if isinstance(value, list):
        _refuse_long(len(value), what, most)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _refuse_long_lists(part, what, most)


def _refuse_long(count: int, what: str, most: int) -> None:
    if count > most:
        raise BadInput(
            f"{what} has a list or object of {count} entries, more than {most}", hint=FORMS
        )


def check_format(written: object, *, known: int, what: str) -> None:
    """Refuse what a later autotune wrote, and what none did; nothing is guessed.

    Args:
        written: What the document says of its format.
        known: The newest format that is read here.
        what: What it is, for the message.

    Raises:
        BadInput: With both formats.
    """
    # True equals 1, and is no format.
    if type(written) is not int or written < 1:
        raise BadInput(
            f"{what} has no format that there ever was: {shorten(written)}",
            hint=f"this autotune reads format {known}",
        )
    if written > known:
        raise BadInput(
            f"{what} was written by a newer autotune (format {written}, this reads {known})",
            hint="upgrade with `pip install --upgrade diffusers-autotune`",
        )


def canonical_json(value: object) -> bytes:
    """The one byte form of a value, for digests: sorted keys, no spaces, UTF-8."""
    return _dump(value, separators=(",", ":"))


def pretty_json(value: object) -> bytes:
    """The one byte form of a value, for people: sorted keys, one space of indent."""
    return _dump(value, indent=1) + b"\n"


def _dump(
    value: object, *, indent: int | None = None, separators: tuple[str, str] | None = None
) -> bytes:
    text = json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )
    return text.encode("utf-8")


def digest(data: bytes) -> str:
    """The SHA-256 of some bytes, as ``sha256:…``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
