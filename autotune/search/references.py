"""Setups that documentation advises, measured beside the winner in the same study."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from autotune.recipe.schema import Against
from autotune.records import Candidate, Choice, Record
from autotune.search.admission import Admission
from autotune.search.confirm import Confirmed, confirm
from autotune.search.runner import Runner
from autotune.stats.compare import Verdict

#: What ``--against`` takes.
AGAINST: Mapping[str, str] = {"docs": "what diffusers' documentation advises for the model"}


class Reference(Record):
    """One setup, as what it changes of the baseline; for all families if none is named."""

    name: str
    what: str
    families: tuple[str, ...] = ()
    choices: Mapping[str, str]
    source: str


class _Table(Record):
    format: Literal[1]
    references: tuple[Reference, ...]


@cache
def load_references() -> tuple[Reference, ...]:
    """All setups that are shipped."""
    text = files("autotune.search").joinpath("references.toml").read_text("utf-8")
    # TOML knows lists and no tuples.
    return _Table.model_validate(tomllib.loads(text), strict=False).references


def references_for(family: str | None) -> tuple[Reference, ...]:
    """The setups that are advised for a family of models."""
    return tuple(one for one in load_references() if not one.families or family in one.families)


def measure_against(
    runner: Runner,
    admission: Admission,
    choices: Sequence[Choice],
    baseline: Candidate,
    winner: Candidate,
) -> Iterator[Against]:
    """Confirm the winner against every reference, in turns, as long as there is time.

    Args:
        runner: What runs trials.
        admission: Says which references cannot run here, or cannot fit.
        choices: What can be had here; references may use what the search leaves out.
        baseline: What references are changes of.
        winner: What they are compared with.
    """
    for reference in references_for(admission.model.family):
        candidate = {**baseline, **reference.choices}
        why = _missing(reference, choices) or admission.rule(candidate)
        if why is None and candidate == winner:
            why = "is this recipe"
        if why is None and candidate == baseline:
            why = "is the baseline"
        why = why or admission.too_large(candidate)
        if why is not None:
            yield _without(reference, why)
            continue
        if runner.time_is_up:
            return
        confirmed = confirm(runner, winner, candidate)
        if confirmed.cut_short:
            return
        yield _compared(reference, confirmed)


def _missing(reference: Reference, choices: Sequence[Choice]) -> str | None:
    """Why a choice of the reference cannot be had here, or ``None``."""
    offered = {(one.lever, one.id): one for one in choices}
    for lever, id in reference.choices.items():
        found = offered.get((lever, id))
        if found is None or found.unavailable is not None:
            reason = found.unavailable if found else "is not known here"
            return f"{lever}={id}: {reason}"
    return None


def _compared(reference: Reference, confirmed: Confirmed) -> Against:
    theirs, compared = confirmed.baseline, confirmed.compared
    if confirmed.failed is not None:
        return _without(reference, "this recipe failed beside it in a fresh process")
    if theirs is None or compared is None:
        return _without(reference, "does not run here")
    return _without(reference, compared.why).but(
        verdict=compared.verdict,
        ours_s=confirmed.finalist.processes_s,
        theirs_s=theirs.processes_s,
        peak_bytes=theirs.peak_bytes,
    )


def _without(reference: Reference, why: str) -> Against:
    return Against(
        name=reference.name,
        choices=reference.choices,
        source=reference.source,
        verdict=Verdict.CANNOT_SAY,
        why=why,
    )
