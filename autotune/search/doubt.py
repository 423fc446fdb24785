"""Measurements that cannot be true: faster than the card computes, or smaller than the weights."""

from __future__ import annotations

from collections.abc import Callable

from autotune.estimate.cards import card_of
from autotune.estimate.ceilings import Ceilings, ceilings_from_card
from autotune.estimate.floor import floor_s, problem_of
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import Profile
from autotune.estimate.sizes import part_bytes
from autotune.levers.plan import Place, Plan
from autotune.records import Candidate, Device, Model, Outcome
from autotune.search.history import latency_of

#: Of the steps, what a cache computes at the least: none of ours skips nine of ten.
_COMPUTED_WITH_CACHE = 0.1

Doubt = Callable[[Candidate, Outcome], str | None]


def make_doubt(model: Model, device: Device, profile: Profile) -> Doubt:
    """What asks of an outcome whether it can be true, as far as the device is known.

    Only cards of the table have a floor, and only on a card must weights lie where they are used.
    """
    card = card_of(device)
    if card is None or profile.uncounted is not None:
        return lambda candidate, outcome: None
    ceilings = ceilings_from_card(card)

    def problem(candidate: Candidate, outcome: Outcome) -> str | None:
        plan = plan_of(model, device, candidate)
        return problem_of(
            latency_of(outcome),
            outcome.memory.peak_bytes if outcome.memory else None,
            floor_s=_floor_s(profile, ceilings, plan, candidate),
            resident_bytes=_resident_bytes(profile, plan),
        )

    return problem


def _floor_s(profile: Profile, ceilings: Ceilings, plan: Plan, candidate: Candidate) -> float:
    part = plan.parts[plan.model.denoiser]
    fastest = max(ceilings.flops, key=ceilings.flops.__getitem__)
    # Which format a packed weight is computed in is the quantizer's affair.
    plain = part.quantizer is None and part.file_bytes is None and part.dtype != "fp32"
    by_sage = candidate.get("attention", "").startswith("sage")
    cached = candidate.get("cache", "none") != "none"
    return floor_s(
        profile,
        ceilings,
        linear_format=part.dtype if plain else fastest,
        attention_format=fastest if by_sage or part.dtype == "fp32" else part.dtype,
        computed=_COMPUTED_WITH_CACHE if cached else 1.0,
    )


def _resident_bytes(profile: Profile, plan: Plan) -> int:
    return sum(
        part_bytes(weights, plan.parts[name])
        for name, weights in profile.components.items()
        if plan.parts[name].place is Place.DEVICE
    )
