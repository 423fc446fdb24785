"""Lays expressions out as ruff and black do, so that exported code is formatted as it stands."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from autotune.errors import one_line
from autotune.levers.script import Call, Expression, Name, Statement

#: What formatters take unless they are told otherwise: the code is pasted elsewhere.
WIDTH = 88
_INDENT = " " * 4


def statement_lines(statement: Statement) -> list[str]:
    """The lines of a statement."""
    return laid_out("", statement) if isinstance(statement, Call) else statement.splitlines()


def laid_out(start: str, expression: Expression, end: str = "", indent: str = "") -> list[str]:
    """The lines of an expression between ``start`` and ``end``, broken only where it must be."""
    line = f"{indent}{start}{written(expression)}{end}"
    inner = indent + _INDENT
    if len(line) <= WIDTH or not isinstance(expression, (Call, Mapping)):
        return [line]
    if isinstance(expression, Mapping):
        items = [(f"{written(key)}: ", value) for key, value in expression.items()]
        opening, closing, together = "{", "}", False
    else:
        items = [("", one) for one in expression.positional]
        items += [(f"{name}=", value) for name, value in expression.named.items()]
        opening, closing, together = f"{expression.function}(", ")", True
    body = f"{inner}{', '.join(f'{name}{written(one)}' for name, one in items)}"
    if together and len(body) <= WIDTH:
        inside = [body]
    else:
        # A single argument stands there without a comma.
        comma = "" if together and len(items) == 1 else ","
        inside = [line for name, one in items for line in laid_out(name, one, comma, inner)]
    return [f"{indent}{start}{opening}", *inside, f"{indent}{closing}{end}"]


def written(expression: Expression) -> str:
    """The expression on one line."""
    if isinstance(expression, Call):
        named = (f"{name}={written(one)}" for name, one in expression.named.items())
        return (
            f"{expression.function}({', '.join([*map(written, expression.positional), *named])})"
        )
    if isinstance(expression, Mapping):
        items = (f"{written(key)}: {written(one)}" for key, one in expression.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(expression, Name):
        return str(expression)
    return _quoted(expression) if isinstance(expression, str) else repr(expression)


def text_lines(start: str, text: str) -> list[str]:
    """The assignment of a text, in pieces where it is longer than a line."""
    if len(start) + len(_quoted(text)) <= WIDTH:
        return [f"{start}{_quoted(text)}"]
    pieces = list(_pieces(text, WIDTH - len(_INDENT)))
    if len(pieces) == 1:
        return [f"{start}{_quoted(text)}"]
    return [f"{start}(", *(f"{_INDENT}{_quoted(piece)}" for piece in pieces), ")"]


def comment_lines(text: str, hanging: str = "") -> list[str]:
    """A comment of one paragraph. Whatever the text holds, it stays one."""
    width = WIDTH - 2
    lines = textwrap.wrap(
        one_line(text, 1000), width, subsequent_indent=hanging, break_on_hyphens=False
    )
    return [f"# {line}" for line in lines] or ["#"]


def _pieces(text: str, width: int) -> Iterator[str]:
    """The text cut behind blanks, so that each piece fits once it is quoted."""
    piece = ""
    for word in text.split(" "):
        longer = f"{piece}{word} "
        if piece and len(_quoted(longer)) > width:
            yield piece
            longer = f"{word} "
        piece = longer
    yield piece[:-1]


def _quoted(text: str) -> str:
    """The text in double quotes, or in single ones where that takes fewer backslashes."""
    quote = "'" if text.count('"') > text.count("'") else '"'
    # repr knows what can be printed; of a single character it quotes with what it does not hold.
    return quote + "".join(_escaped(one, quote) for one in text) + quote


def _escaped(character: str, quote: str) -> str:
    if character in "'\"":
        return f"\\{character}" if character == quote else character
    return repr(character)[1:-1]
