"""What ``autotune compare`` answers, for people and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autotune.report.words import console_for, disturbed_phrase
from autotune.stats.compare import Verdict
from autotune.units import format_bytes, format_duration

if TYPE_CHECKING:
    from autotune.recipe.schema import Measured
    from autotune.search.side_by_side import SideBySide

_SENTENCES = {
    Verdict.FASTER: "A is faster than B",
    Verdict.SLOWER: "A is slower than B",
    Verdict.SAME: "A and B take the same",
    Verdict.CANNOT_SAY: "cannot say which is faster",
}


def print_side_by_side(found: SideBySide, names: Sequence[str], stream: TextIO) -> None:
    """Print both recipes and the verdict."""
    console = console_for(stream)
    for line in lines(found, names):
        console.print(line, soft_wrap=True)


def lines(found: SideBySide, names: Sequence[str]) -> Iterator[str]:
    """Each recipe with what it took here, what differs, and what follows."""
    from autotune.search.side_by_side import NAMES

    for letter, name, recipe, check, side in zip(
        NAMES, names, found.recipes, found.checks, found.sides, strict=True
    ):
        yield f"{letter:<9} {name}: match {check.match}"
        for problem in check.problems:
            yield f"          {problem}"
        if side is not None:
            yield f"          {_took(found, side)} of {format_bytes(recipe.budget.bytes)}"
            disturbed = disturbed_phrase(side)
            if disturbed is not None:
                yield f"          {disturbed}"
    for number, (lever, ours, theirs) in enumerate(found.differences()):
        yield f"{'' if number else 'differ':<9} {lever}: {ours} in A, {theirs} in B"
    if found.failed is not None:
        outcome = found.failed.outcome
        yield f"verdict   {found.broken} fails: {outcome.message or outcome.status.sentence}"
    if found.compared is None:
        return
    compared = found.compared
    yield (
        f"verdict   {_SENTENCES[compared.verdict]}: {compared.ratio:.2f}× the speed "
        f"({compared.low:.2f} to {compared.high:.2f}); {compared.why}"
    )
    yield f"memory    {_memory(found)}"


def _took(found: SideBySide, side: Measured) -> str:
    aim = found.objective
    medians = [statistics.median(one) for one in side.times_s(aim)]
    return (
        f"{format_duration(side.seconds(aim))} {aim.unit} ({format_duration(min(medians))} to "
        f"{format_duration(max(medians))} in {len(medians)} processes), "
        f"peak {format_bytes(side.peak_bytes)}"
    )


def _memory(found: SideBySide) -> str:
    first, second = found.sides
    assert first is not None
    assert second is not None
    more = first.peak_bytes - second.peak_bytes
    if more == 0:
        return "both take the same"
    return f"A takes {format_bytes(abs(more))} {'more' if more > 0 else 'less'} at its peak"


def to_json(found: SideBySide) -> dict[str, Any]:
    """The object ``compare --json`` prints."""
    from autotune.search.side_by_side import NAMES

    compared, failed = found.compared, found.failed
    return {
        "verdict": compared.verdict.value if compared else "fails",
        "ratio": compared.ratio if compared else None,
        "ratio_low": compared.low if compared else None,
        "ratio_high": compared.high if compared else None,
        "why": compared.why if compared else None,
        "failed": {
            "recipe": found.broken,
            "status": failed.outcome.status.value,
            "message": failed.outcome.message,
        }
        if failed
        else None,
        "differences": {
            lever: {"A": ours, "B": theirs} for lever, ours, theirs in found.differences()
        },
        **{
            letter: {
                "match": check.match,
                "latency_s": side.seconds(found.objective) if side else None,
                "peak_bytes": side.peak_bytes if side else None,
                "processes_s": [list(one) for one in side.times_s(found.objective)]
                if side
                else None,
                "budget_bytes": recipe.budget.bytes,
            }
            for letter, recipe, check, side in zip(
                NAMES, found.recipes, found.checks, found.sides, strict=True
            )
        },
        "folder": str(found.folder),
    }
