"""What no measurement can be below: it is wrong then, not good."""

from __future__ import annotations

from autotune.estimate.ceilings import Ceilings
from autotune.estimate.profile import Call, Profile
from autotune.units import format_both, format_duration

#: Numbers G2: clocks above the rated ones exceed the data sheet by 5 to 10 %.
_CLOCK_ALLOWANCE = 1.10
#: Assumption: tensor units wait a thirtieth of the time at least. Of what is published the most is
#: 88 % (numbers G4), and the table of diffusers' own CI is beyond the rest (H3).
_MOST_BUSY = 0.97
#: Counters of memory count pages, and weights of a few kB may be counted nowhere.
_SLACK = 0.02
#: Assumption: what rounding two figures and their ratio to two digits can come to.
_RATIO_SLACK = 0.06


def floor_s(
    profile: Profile,
    ceilings_of_card: Ceilings,
    *,
    linear_format: str,
    attention_format: str,
    computed: float = 1.0,
) -> float:
    """Seconds in which the card could compute denoising and decoding of a batch at the very best.

    Args:
        profile: What is computed.
        ceilings_of_card: Of the card's data sheet, or measured.
        linear_format: What Linears are computed in: ``fp8`` for a quantizer that does.
        attention_format: What all else is computed in.
        computed: The share of denoising that is done, at least, where a cache skips the rest.
    """
    peak = _CLOCK_ALLOWANCE * _MOST_BUSY

    def call_s(call: Call) -> float:
        work = call.work
        linear_s = work.linear / ceilings_of_card.rate(linear_format)
        rest_s = (work.convolution + work.attention) / ceilings_of_card.rate(attention_format)
        return call.count * (linear_s + rest_s) / peak

    # The way to decode that computes least: which one it was may not be known.
    decode_s = min(map(call_s, profile.decode.values()), default=0.0)
    return computed * sum(map(call_s, profile.denoise)) + decode_s


def problem_of(
    latency_s: float | None,
    peak_bytes: int | None,
    *,
    floor_s: float,
    resident_bytes: int,
    slack: float = _SLACK,
) -> str | None:
    """What marks a measurement as wrong, as a sentence; nothing if it can be true.

    Args:
        latency_s: What was measured, if it was.
        peak_bytes: What was measured, if it was.
        floor_s: What the card needs at the very best.
        resident_bytes: Weights that must lie on the device at once.
        slack: Which share of them may be missing.
    """
    if latency_s is not None and latency_s < floor_s:
        return (
            f"faster than the card can compute: {format_duration(latency_s)}, "
            f"the floor is {format_duration(floor_s)}"
        )
    if peak_bytes is not None and peak_bytes < resident_bytes * (1 - slack):
        return (
            "less memory than the weights that must lie on the device: "
            f"{format_both(peak_bytes)}, they take {format_both(resident_bytes)}"
        )
    return None


def ratio_problem(claimed: float, before_s: float, after_s: float) -> str | None:
    """What marks a claimed speed-up as wrong beside the two figures it stands with."""
    found = before_s / after_s
    if abs(claimed - found) <= _RATIO_SLACK * found:
        return None
    return (
        f"said to be {claimed:.2f} times as fast, but {format_duration(before_s)} "
        f"and {format_duration(after_s)} give {found:.2f}"
    )
