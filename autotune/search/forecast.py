"""What is foreseen for a model on a device, without running it: ``autotune estimate``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.estimate.ceilings import Ceilings
from autotune.estimate.profile import Profile
from autotune.records import Choice, Device, Fidelity, Model
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
    funnel: Funnel
    baseline: Foreseen | None
    best: Sequence[Foreseen]
    presets: Mapping[Fidelity, Foreseen | None]
    ladder: Mapping[int, Foreseen | None]
    evaluated: int


def foresee(
    question: Question, choices: Sequence[Choice], profile: Profile, ceilings: Ceilings
) -> Forecast:
    """Answer a question from what the levers offer and what the model does.

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

    answers: dict[tuple[str, ...], Foreseen | None] = {}

    def shortlist(quality: Fidelity) -> Shortlist:
        space = build_space(choices, question.definition, question.pins, quality)
        return Shortlist(ruled(space, admission), admission, ceilings, answers=answers)

    asked = shortlist(question.quality)
    rungs = {size: round(size * _GIB * _FREE) for size in LADDER_GB}
    for budget_bytes in (question.budget_bytes, *rungs.values()):
        asked.best(budget_bytes)
    # Once more: each budget now knows what the others came upon.
    ladder = {size: asked.best(budget_bytes) for size, budget_bytes in rungs.items()}
    return Forecast(
        question=question,
        space=asked.space,
        profile=profile,
        ceilings=ceilings,
        funnel=count_funnel(asked.space, admission),
        baseline=asked.foresee(asked.space.baseline),
        best=asked.fitting(question.budget_bytes, _MOST),
        presets={quality: shortlist(quality).leanest() for quality in Fidelity},
        ladder=ladder,
        evaluated=asked.evaluated,
    )
