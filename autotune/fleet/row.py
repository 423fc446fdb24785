"""What a lookup asks of a recipe, as one row of the index, so that ten thousand take no time."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from autotune.recipe.schema import Recipe
from autotune.records import Workload

#: A number that can be compared with another; everything in an index may be made up.
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0, le=2**60)]


class Row(NamedTuple):
    """A recipe's name in the book, what it is for, and what it takes.

    ``stamp`` is the store's, ``model`` the id in small letters, ``machine`` the number of the
    fingerprint among those of the index, ``seconds`` the time that counts by the ``objective``.
    ``quality`` is empty where the recipe does not say which was asked for.
    """

    name: str
    stamp: str
    model: str
    machine: _Count
    revision: str
    weights: str
    source: str
    objective: str
    quality: Literal["", "exact", "close", "balanced", "any"]
    provisional: bool
    width: _Count
    height: _Count
    frames: _Count
    steps: _Count
    batch: _Count
    seconds: _Number
    peak_bytes: _Count
    host_bytes: _Count

    @property
    def workload(self) -> tuple[int, int, int, int, int]:
        """What of the workload decides about time and memory: see `sizes_of`."""
        return self.width, self.height, self.frames, self.steps, self.batch


#: Types are looked at in one go, in compiled code: an index is a file that anybody may have made.
ROWS: TypeAdapter[list[Row]] = TypeAdapter(list[Row])

#: The names of what `sizes_of` and `Row.workload` say.
SIZES = ("width", "height", "frames", "steps", "batch")


def sizes_of(work: Workload) -> tuple[int, int, int, int, int]:
    """Width, height, frames (0 of a picture), steps and batch."""
    return work.width, work.height, work.frames or 0, work.steps, work.batch


def row_of(recipe: Recipe, name: str, stamp: str, machine: int) -> Row:
    """The row of a recipe that was read strictly."""
    winner, model = recipe.evidence.winner, recipe.model
    asked = recipe.evidence.quality.asked
    width, height, frames, steps, batch = sizes_of(recipe.workload)
    return Row(
        name=name,
        stamp=stamp,
        model=model.id.casefold(),
        machine=machine,
        revision=model.revision,
        weights=model.weights,
        source=model.source,
        objective=recipe.objective,
        quality="" if asked is None else asked.value,
        provisional=recipe.status == "provisional",
        width=width,
        height=height,
        frames=frames,
        steps=steps,
        batch=batch,
        seconds=winner.seconds(recipe.aim),
        peak_bytes=winner.peak_bytes,
        host_bytes=winner.host_bytes or 0,
    )
