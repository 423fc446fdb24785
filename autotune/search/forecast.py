"""What is foreseen for a model on a device, without running it: ``autotune estimate``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autotune.estimate.ceilings import Ceilings
from autotune.estimate.profile import Profile
from autotune.records import Candidate, Choice, Device, Fidelity, Model, Record
from autotune.search.admission import Admission
from autotune.search.definition import Definition
from autotune.search.funnel import Funnel, count_funnel
from autotune.search.ruled import refuse_pins, ruled
from autotune.search.shortlist import Foreseen, Shortlist
from autotune.search.space import Space, build_space

#: What cards come with, in GB as they are sold; each step is shown with its best candidate.
LADDER_GB = (6, 8, 10, 12, 16, 24, 32, 48, 80)
_GIB = 1 << 30
#: Of a card so large, what a process may take: the driver keeps the rest (cards.py).
_FREE = 0.97
#: How many of the best candidates are shown.
_MOST = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """A model, a device and a budget to foresee for, with everything a study would be given."""

    model: Model
    device: Device
    budget_bytes: int
    host_bytes: int | None
    definition: Definition
    quality: Fidelity
    pins: Mapping[str, str]
    software: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The answer. Everything in it is predicted, nothing was measured.

    Args:
        baseline: The model as it is, whether it fits or not.
        best: From the fastest that is foreseen to fit the budget to the leanest.
        presets: For each quality, the candidate that takes least.
        ladder: For each size of card in GB, the fastest that is foreseen to fit.
    """

    question: Question
    space: Space
    profile: Profile
    ceilings: Ceilings
    answer: Answer
    funnel: Funnel
    baseline: Foreseen | None
    best: Sequence[Foreseen]
    presets: Mapping[Fidelity, Foreseen | None]
    ladder: Mapping[int, Foreseen | None]
    evaluated: int


class Answer(Record):
    """What a forecast found, by its candidates: enough to make it again without a search.

    ``presets`` comes in the order of ``Fidelity`` and ``ladder`` in that of ``LADDER_GB``.
    """

    best: tuple[Candidate, ...]
    presets: tuple[Candidate | None, ...]
    ladder: tuple[Candidate | None, ...]
    funnel: Funnel
    evaluated: int


def foresee(
    question: Question,
    choices: Sequence[Choice],
    profile: Profile,
    ceilings: Ceilings,
    known: Answer | None = None,
) -> Forecast:
    """Answer a question from what the levers offer and what the model does.

    Args:
        question: What is asked.
        choices: What the levers offer for the model on the device.
        profile: What the model does.
        ceilings: Of the device.
        known: The answer to the very same question, if it is known: nothing is searched then.

    Raises:
        BadInput: If the pins or the rules leave nothing.
    """
    admission = Admission(
        model=question.model,
        device=question.device,
        budget_bytes=question.budget_bytes,
        software=question.software,
        host_bytes=question.host_bytes,
        profile=profile,
    )
    refuse_pins(question.pins, admission)

    evaluated: dict[tuple[str, ...], Foreseen | None] = {}

    def shortlist(quality: Fidelity) -> Shortlist:
        space = build_space(choices, question.definition, question.pins, quality)
        return Shortlist(ruled(space, admission), admission, ceilings, answers=evaluated)

    asked = shortlist(question.quality)
    if known is None:
        known = _search(question, asked, admission, shortlist)

    def again(candidate: Candidate | None) -> Foreseen | None:
        return None if candidate is None else asked.foresee(candidate)

    return Forecast(
        question=question,
        space=asked.space,
        profile=profile,
        ceilings=ceilings,
        answer=known,
        funnel=known.funnel,
        baseline=again(asked.space.baseline),
        best=[one for one in map(again, known.best) if one is not None],
        presets=dict(zip(Fidelity, map(again, known.presets), strict=True)),
        ladder=dict(zip(LADDER_GB, map(again, known.ladder), strict=True)),
        evaluated=known.evaluated,
    )


def _search(
    question: Question,
    asked: Shortlist,
    admission: Admission,
    shortlist: Callable[[Fidelity], Shortlist],
) -> Answer:
    rungs = [round(size * _GIB * _FREE) for size in LADDER_GB]
    for budget_bytes in (question.budget_bytes, *rungs):
        asked.best(budget_bytes)
    # Once more: each budget now knows what the others came upon.
    ladder = [asked.best(budget_bytes) for budget_bytes in rungs]
    best = asked.fitting(question.budget_bytes, _MOST)
    return Answer(
        best=tuple(one.candidate for one in best),
        presets=tuple(_candidate(shortlist(quality).leanest()) for quality in Fidelity),
        ladder=tuple(map(_candidate, ladder)),
        funnel=count_funnel(asked.space, admission),
        evaluated=asked.evaluated,
    )


def _candidate(one: Foreseen | None) -> Candidate | None:
    return None if one is None else one.candidate
