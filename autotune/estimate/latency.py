"""How long a candidate takes: counted work over the ceilings of a device, before anything runs.

A call's products, the bytes its other operations move and the weights it unpacks follow each
other; beside all that, Python launches it. Which share of a ceiling is reached, and what each
choice changes, is data: ``efficiency.toml``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from autotune.estimate.cards import card_of
from autotune.estimate.ceilings import Ceilings, guess_host
from autotune.estimate.efficiency import Change, Phase, Shares, load_efficiency
from autotune.estimate.profile import Call, Profile, Weights
from autotune.estimate.sizes import part_bytes
from autotune.levers.plan import Part, Place, Plan
from autotune.records import Device, Record

_CPU = "cpu"
#: Bytes of a profile are counted in 16-bit floats.
_WIDTHS = {"fp32": 2.0}
#: torch lets cuDNN convolve 32-bit floats in TF32 unless told otherwise, and products not.
_CONVOLVED_IN = {"fp32": "tf32"}


class Latency(Record):
    """Seconds for one batch of the workload; ``transfer_s`` is what nothing hides.

    ``first_extra_s`` is what the first image takes longer, in a process whose caches are cold.
    """

    encode_s: float
    denoise_s: float
    decode_s: float
    transfer_s: float
    image_s: float
    first_extra_s: float


def predict(
    profile: Profile,
    plan: Plan,
    candidate: Mapping[str, str],
    ceilings: Ceilings,
    host: Ceilings | None = None,
) -> Latency:
    """Foresee what an image takes; of a profile that was not counted, only its transfers.

    Args:
        profile: What the model does.
        plan: Where its parts lie and what they are, after every lever.
        candidate: The choices.
        ceilings: Of the device.
        host: Of the processor, where text encoders may be; by default what is guessed of it.
    """
    here = _machine(ceilings, plan.device)
    beside = here
    if any(part.place is Place.HOST for part in plan.parts.values()):
        beside = _machine(host or guess_host(), None)
    link = _link(ceilings, candidate.get("offload", "none"), here.kind)
    seconds: dict[Phase, float] = {"encode": 0.0, "denoise": 0.0, "decode": 0.0}
    transfer_s, called = 0.0, set()
    for phase, call in _calls(profile, plan):
        part, weights = plan.parts[call.component], profile.components[call.component]
        machine = beside if part.place is Place.HOST else here
        once_s = _call_s(call, weights, machine, phase, plan, candidate)
        seconds[phase] += call.count * once_s
        transfer_s += call.count * _streaming_s(weights, part, link, once_s)
        called.add(call.component)
    for name in called or plan.parts.keys() & profile.components.keys():
        transfer_s += _moving_s(profile.components[name], plan.parts[name], link)
    shares = {f"{phase}_s": took / plan.multiple for phase, took in seconds.items()}
    transfer_s /= plan.multiple
    return Latency(
        **shares,
        transfer_s=transfer_s,
        image_s=sum(shares.values()) + transfer_s,
        first_extra_s=_first_extra_s(candidate),
    )


def _calls(profile: Profile, plan: Plan) -> Iterator[tuple[Phase, Call]]:
    """The calls of one image, without those whose result is known."""
    decode = profile.decode.get(plan.tiling) or profile.decode.get("off")
    phases: tuple[tuple[Phase, tuple[Call, ...]], ...] = (
        ("encode", profile.encode),
        ("denoise", profile.denoise),
        ("decode", (decode,) if decode else ()),
    )
    for phase, calls in phases:
        for call in calls:
            if plan.parts[call.component].place is not Place.GONE:
                yield phase, call


# ---------------------------------------------------------------------------------- transfers


class _Link(NamedTuple):
    """Bytes a second that copies of weights reach, to the device and back."""

    there: float
    back: float


def _link(ceilings: Ceilings, offload: str, kind: str) -> _Link:
    """Without a link nothing has to be copied: the device's memory is the host's."""
    speed = ceilings.host_to_device_bytes_s or math.inf
    change = _change("offload", offload, None, kind, False)
    return _Link(speed * change.transfer, speed * change.back)


def _streaming_s(weights: Weights, part: Part, link: _Link, computed_s: float) -> float:
    """What weights that come with every call add to it."""
    if part.place not in (Place.BLOCKS, Place.LEAVES):
        return 0.0
    copied_s = part_bytes(weights, part) * (1 - part.share) / link.there
    return max(0.0, copied_s - computed_s) if part.ahead else copied_s


def _moving_s(weights: Weights, part: Part, link: _Link) -> float:
    """What weights that come once an image add to it."""
    if part.place not in (Place.SWAPPED, Place.STAGED):
        return 0.0
    size = part_bytes(weights, part)
    return size / link.there + (size / link.back if part.place is Place.SWAPPED else 0.0)


# ------------------------------------------------------------------------------------ a call


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """A device's ceilings, and what models reach of them."""

    kind: str
    ceilings: Ceilings
    sheet: float
    shares: Shares
    copy_bytes_s: float

    def rate(self, number_format: str) -> float:
        """Operations a second of a large product in a format."""
        return self.ceilings.rate(number_format) * self.sheet


def _machine(ceilings: Ceilings, device: Device | None) -> _Machine:
    """A device, or the host without one."""
    kind = _CPU
    if device is not None and device.kind != "cpu":
        kind = device.compute_capability or device.kind
    sheet, copied, shares = 1.0, 1.0, _shares(kind)
    if device is not None and ceilings.source == "table":
        reached, card = load_efficiency().sheet, card_of(device)
        sheet = reached.halved if card is not None and card.halved else reached.full
        copied = reached.copy_bytes
    return _Machine(
        kind=kind,
        ceilings=ceilings,
        sheet=sheet,
        shares=shares,
        copy_bytes_s=ceilings.copy_bytes_s * copied * shares.copy_bytes,
    )


def _call_s(
    call: Call,
    weights: Weights,
    machine: _Machine,
    phase: Phase,
    plan: Plan,
    candidate: Mapping[str, str],
) -> float:
    """Seconds of one call, with as many batches as the plan makes at once."""
    part = plan.parts[call.component]
    change, number_format = _changes(call, part, machine.kind, phase, plan, candidate)
    work, shares, times = call.work, machine.shares, change.work * plan.multiple
    linear_format = change.format or number_format
    convolution_format = _CONVOLVED_IN.get(number_format, number_format)
    linear_rate = machine.rate(linear_format) * shares.linear * change.linear
    # A product reads its weights while it multiplies.
    linear_s = max(
        work.linear * times * change.linear_work / linear_rate,
        part_bytes(weights, part) * change.work / machine.copy_bytes_s,
    )
    convolution_rate = machine.rate(convolution_format) * shares.convolution * change.convolution
    convolution_s = work.convolution * times / convolution_rate
    attention_rate = machine.rate(number_format) * shares.attention * change.attention
    attention_s = work.attention * times * change.attention_work / attention_rate
    moved = work.moved_bytes * _WIDTHS.get(part.dtype, 1.0) * times * change.moved
    if change.unpack:
        moved += part_bytes(weights, Part(dtype="bf16")) * change.unpack * change.work
    computed_s = linear_s + convolution_s + attention_s + moved / machine.copy_bytes_s
    launches = work.operations * change.launches * change.work
    launched_s = launches * machine.ceilings.launch_s / shares.launch
    # An accelerator computes while the next operations are launched, a processor does not.
    return computed_s + launched_s if machine.kind == _CPU else max(computed_s, launched_s)


def _changes(
    call: Call, part: Part, kind: str, phase: Phase, plan: Plan, candidate: Mapping[str, str]
) -> tuple[Change, str]:
    """What all choices together change of a call, and the format it computes in."""
    compiled = plan.runs_compiled(call.component)
    rows = load_efficiency().rows
    found, number_format = [], part.dtype
    for lever, choice in candidate.items():
        if lever not in rows:
            continue
        change = _change(lever, choice, phase, kind, compiled)
        if lever != "matmul-precision":
            found.append(change)
        elif part.dtype == "fp32" and change.format:
            number_format = change.format
    if part.quantizer is not None:
        found.append(_change("quantize", part.quantizer, None, kind, compiled))
    if part.cast:
        found.append(_change("cast", "fp8", None, kind, compiled))
    return _together(change for change in found if change is not _NOTHING), number_format


_NOTHING = Change()


@cache
def _change(lever: str, choice: str, phase: Phase | None, kind: str, compiled: bool) -> Change:
    """What the last row that holds says; nothing where there is none."""
    rows = load_efficiency().rows.get(lever, ())
    held = [row.change for row in rows if row.holds(choice, phase, kind, compiled)]
    return held[-1] if held else _NOTHING


def _together(changes: Iterable[Change]) -> Change:
    """Factors multiply, what is unpacked adds up, and one format is left."""
    all_of = tuple(changes)
    if len(all_of) < 2:
        return all_of[0] if all_of else _NOTHING
    return Change.model_construct(
        linear=math.prod(one.linear for one in all_of),
        convolution=math.prod(one.convolution for one in all_of),
        attention=math.prod(one.attention for one in all_of),
        work=math.prod(one.work for one in all_of),
        linear_work=math.prod(one.linear_work for one in all_of),
        attention_work=math.prod(one.attention_work for one in all_of),
        moved=math.prod(one.moved for one in all_of),
        launches=math.prod(one.launches for one in all_of),
        unpack=sum(one.unpack for one in all_of),
        format=next((one.format for one in all_of if one.format), None),
    )


@cache
def _shares(kind: str) -> Shares:
    devices = load_efficiency().devices
    return next(row.shares for row in devices if not row.on or kind in row.on)


def _first_extra_s(candidate: Mapping[str, str]) -> float:
    start = load_efficiency().start
    found = [
        row.change
        for lever, rows in start.items()
        for row in rows
        if row.holds(candidate.get(lever, ""), None, "", False)
    ]
    return sum(one.first_s for one in found) * math.prod(one.first for one in found)
