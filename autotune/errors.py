"""The error tree: one class per way to end, each with its exit code (design §11)."""

from __future__ import annotations

import re
from enum import IntEnum

#: How the hub, GitHub and OpenAI write their tokens, and a login in a URL, of which a path that
#: was made of it has lost a slash.
_SECRET = re.compile(r"\b(?:hf_|gh[pousr]_|sk-)[A-Za-z0-9_-]{16,}|(?<=:/)(/?)[^\s/]+@")


class ExitCode(IntEnum):
    """What the process tells its caller."""

    DONE = 0
    NO_RESULT = 1
    BAD_INPUT = 2
    CANNOT_RUN = 3
    INTERNAL = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class AutotuneError(Exception):
    """A failure that is explained to the user in one sentence and a hint.

    Args:
        message: What is wrong, with the value that is wrong.
        hint: The next command to try, or the accepted forms.
    """

    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NoResult(AutotuneError):
    """The work was done and ended without an acceptable result."""

    exit_code = ExitCode.NO_RESULT


class NothingFits(NoResult):
    """No candidate met the budget."""


class RecipeMismatch(NoResult):
    """A recipe does not hold on this machine or for this model."""


class BadInput(AutotuneError):
    """A value given by the user cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class BadRecipe(BadInput):
    """A recipe file is not one, or was changed, or says what it may not say."""


class CannotRun(AutotuneError):
    """The environment cannot be used: no device, no network, no space, a lock held by another."""

    exit_code = ExitCode.CANNOT_RUN


class ModelUnavailable(CannotRun):
    """The model cannot be had: unknown, gated, or out of reach."""


def holds_secret(text: str) -> bool:
    """Whether there is what looks like an access token, or a login in a URL."""
    return _SECRET.search(text) is not None


def hide_secrets(text: str) -> str:
    """Take out what looks like an access token, and logins of URLs: messages end up in logs."""
    return _SECRET.sub(r"\1<secret>", text)


def one_line(text: str, limit: int = 200) -> str:
    """Make a text that comes from elsewhere fit for the one line of a message."""
    text = hide_secrets(text)
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def shorten(value: object, limit: int = 60) -> str:
    """Quote a value for a message: printable, one line, at most ``limit`` characters."""
    value = hide_secrets(value) if isinstance(value, str) else value
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return (
        text
        if len(text) <= limit
        else f"{text[: limit - 1]}…{text[0]} ({len(str(value))} characters)"
    )
