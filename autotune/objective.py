"""What a study makes as small as possible: a steady image, the first one, or one of many (D11)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autotune.errors import BadInput, shorten

#: Up to 999,999 images: more than anyone makes with one process before it ends.
PATTERN = r"^(steady|first|total:[1-9][0-9]{0,5})$"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A time of an image; ``images`` is how many of them a process makes, for ``total``."""

    kind: Literal["steady", "first", "total"] = "steady"
    images: int = 1

    def __str__(self) -> str:
        return f"total:{self.images}" if self.kind == "total" else self.kind

    @property
    def sentence(self) -> str:
        """Which time it is, for people."""
        if self.kind == "total":
            return f"an image of {self.images}, loading and compiling included"
        first = "the first image of a process, compiling included, loading not"
        return first if self.kind == "first" else "an image of a process that is warm"

    @property
    def unit(self) -> str:
        """Which time it is, in the few words that follow a number."""
        many = {"steady": "an image", "first": "the first image"}
        return many.get(self.kind, f"an image of {self.images}")

    @property
    def counts_start(self) -> bool:
        """Whether what a process does once counts: then nothing is kept from one to the next."""
        return self.kind != "steady"

    def seconds(
        self, steady_s: float | None, first_s: float | None, load_s: float | None
    ) -> float | None:
        """The time that counts, or ``None`` where a part of it is not known.

        Args:
            steady_s: Of an image of a process that is warm.
            first_s: Of the first image, with what was compiled for it.
            load_s: Of loading, and of quantizing what is loaded.
        """
        if self.kind == "steady":
            return steady_s
        if self.kind == "first":
            return first_s
        if steady_s is None or first_s is None or load_s is None:
            return None
        return (load_s + first_s + (self.images - 1) * steady_s) / self.images


STEADY = Objective()


def parse_objective(text: str) -> Objective:
    """Read ``steady``, ``first`` or ``total:N``.

    Raises:
        BadInput: If it is none of them.
    """
    if not re.fullmatch(PATTERN, text):
        raise BadInput(
            f"there is no objective {shorten(text)}",
            hint="steady, first, or total:100 for 100 images",
        )
    if text.startswith("total:"):
        return Objective(kind="total", images=int(text.removeprefix("total:")))
    return Objective(kind="first") if text == "first" else STEADY
