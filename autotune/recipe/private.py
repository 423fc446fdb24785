"""What a recipe may not hold: absolute paths and access tokens (promise R6).

Messages of other people's exceptions stand in a recipe as reasons, and they love to name paths.
The writer blanks these out; the reader refuses a file that has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from autotune.errors import hide_secrets, holds_secret

#: Two levels at least, so that "it/s" and "1/2" are none. A URL is not one either.
_PATH = re.compile(
    r"(?<![\w/:.<-])(?:~[\w.-]*|/[\w.@+-]+)/[\w.@+/-]*|\b[A-Za-z]:\\\\?[^\s'\"]+|\\\\[\w.-]+\\\S+"
    r"|\bfile:\S+"
)
#: Longer explanations are stack traces.
LONGEST_EXPLANATION = 1000


def find_private(text: str) -> str | None:
    """Name what a text holds that a recipe may not, or ``None``."""
    if _PATH.search(text):
        return "an absolute path"
    return "what looks like an access token" if holds_secret(text) else None


def blank_out(text: str) -> str:
    """Make a text fit for a recipe: no path, no token, no character that cannot be written."""
    # What is left after one may look like another; each round takes a slash or an @ away.
    while find_private(text):
        text = hide_secrets(_PATH.sub("<path>", text))
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def cut(text: str) -> str:
    """Make an explanation short enough to be read."""
    return text if len(text) <= LONGEST_EXPLANATION else f"{text[: LONGEST_EXPLANATION - 1]}…"


def each_text(value: object, change: Callable[[str, str], str], path: str = "") -> object:
    """Copy a JSON value with ``change(path, text)`` in place of each of its texts and keys.

    Prompts are left as they are: they are the user's own words, and part of what was measured.
    """
    if path == "workload.prompts":
        return value
    if isinstance(value, str):
        return change(path, value)
    if isinstance(value, list):
        return [each_text(part, change, f"{path}[{n}]") for n, part in enumerate(value)]
    if isinstance(value, dict):
        dotted = f"{path}." if path else ""
        return {
            change(path, key): each_text(part, change, f"{dotted}{key}")
            for key, part in value.items()
        }
    return value
