"""What a candidate takes of the device, phase by phase, before anything has run.

Weights are exact and activations were counted; what a device adds to them is in `laws`. The result
is meant to lie a little above what will be measured: its margin is part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.estimate.laws import Law, law_of
from autotune.estimate.profile import Call, Profile, Weights
from autotune.estimate.sizes import (
    block_bytes,
    fused_bytes,
    largest_layer,
    part_bytes,
    rest_bytes,
    unpacked_bytes,
)
from autotune.levers.plan import Part, Place, Plan

#: Activations were counted in 16-bit floats.
_WIDER = {"fp32": 2.0, "bf16": 1.0, "fp16": 1.0}
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
#: The parts of a phase that are no component.
ACTIVATIONS, KEPT, BESIDE = "activations", "kept between steps", "the process itself"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """The worst moment of a phase: what takes how many bytes, by component and otherwise."""

    name: str
    bytes: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.bytes.values())

    @property
    def largest(self) -> str:
        """What takes most, the process itself left out: that can be changed by no lever."""
        return max((name for name in self.bytes if name != BESIDE), key=self.bytes.__getitem__)


@dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Peaks of a candidate.

    ``allocated_bytes`` is what lies in tensors at the worst moment, ``peak_bytes`` what the budget
    is judged on, margin included, and ``least_bytes`` what it cannot stay below.
    """

    phases: tuple[Phase, ...]
    allocated_bytes: int
    peak_bytes: int
    least_bytes: int
    host_bytes: int

    @property
    def binds(self) -> Phase:
        """The phase with the highest peak."""
        return max(self.phases, key=lambda phase: phase.total)


def estimate_memory(profile: Profile, plan: Plan) -> MemoryEstimate:
    """Foresee the peaks of a plan; without counted calls those of its weights alone."""
    law = law_of(plan.device.kind)
    phases = tuple(_phases(profile, plan, law))
    worst = max(phases, key=lambda phase: phase.total)
    tensors = worst.total - worst.bytes.get(BESIDE, 0)
    least = max(_least(phase) for phase in phases)
    return MemoryEstimate(
        phases=phases,
        allocated_bytes=tensors,
        peak_bytes=round(worst.total * (1 + law.margin)),
        least_bytes=round(least * law.surely),
        host_bytes=_host_bytes(profile, plan),
    )


def _least(phase: Phase) -> int:
    return phase.total


def _phases(profile: Profile, plan: Plan, law: Law) -> Iterator[Phase]:
    used = {call.component for call in (*profile.encode, *profile.denoise)} | {"vae"}
    yield _phase("load", profile, plan, law, None, used)
    for call in profile.encode:
        yield _phase("encode", profile, plan, law, call, used)
    for call in profile.denoise:
        yield _phase("denoise", profile, plan, law, call, used)
    decode = profile.decode.get(plan.tiling) or profile.decode.get("off")
    if decode is not None:
        yield _phase("decode", profile, plan, law, decode, used)


def _phase(
    name: str, profile: Profile, plan: Plan, law: Law, call: Call | None, used: set[str]
) -> Phase:
    bytes_: dict[str, int] = {}
    for component, weights in profile.components.items():
        part = _as_used(profile, plan, component, call)
        lies = _on_device(weights, part, plan, component, name, call)
        if part.place is not Place.HOST:
            lies = round(lies * law.touched(component, weights))
        if lies:
            bytes_[component] = lies
    if call is not None and plan.parts[call.component].place not in (Place.HOST, Place.GONE):
        bytes_[ACTIVATIONS] = _activations(profile, plan, law, call)
        if name == "denoise":
            bytes_[KEPT] = _kept(profile, plan, call)
    bytes_[BESIDE] = law.beside(sum(bytes_.values()), name, plan)
    return Phase(name=name, bytes={part: size for part, size in bytes_.items() if size})


def _as_used(profile: Profile, plan: Plan, component: str, call: Call | None) -> Part:
    """The part, in fp32 while a pipeline uses it so."""
    part = plan.parts[component]
    if call and call.component == component in profile.upcast and part.dtype == "fp16":
        return Part(dtype="fp32", place=part.place)
    return part


def _on_device(
    weights: Weights, part: Part, plan: Plan, component: str, phase: str, call: Call | None
) -> int:
    """Bytes of a component's weights on the device at the worst moment of a phase."""
    here = call is not None and call.component == component
    if part.place in (Place.HOST, Place.GONE):
        return 0
    if part.place in (Place.SWAPPED, Place.STAGED):
        present = here or _stays_behind(plan, component, part, phase)
        return part_bytes(weights, part) if present else 0
    if part.place is Place.LEAVES:
        return largest_layer(weights, part) * (1 + part.ahead) if here else 0
    if part.place is Place.BLOCKS:
        return _in_blocks(weights, part, here=here)
    fused = plan.fused and component in plan.model.denoisers
    return part_bytes(weights, part) + (fused_bytes(weights, part) if fused else 0)


def _stays_behind(plan: Plan, component: str, part: Part, phase: str) -> bool:
    """Whether a denoiser is still there while its picture is decoded, although it should be gone.

    With bitsandbytes' weights under model offload it is: 12.24 GB allocated where the four-bit
    denoiser of Flux and what decoding takes are 11.8 (diffusers' documentation), and 13.3 reserved
    on an H100, while bf16 and torchao's 8 bits come out as they should (numbers.md B1, B3).
    """
    of_bitsandbytes = (part.quantizer or "").startswith("bnb-")
    swapped = part.place is Place.SWAPPED and component in plan.model.denoisers
    return phase == "decode" and swapped and of_bitsandbytes


def _in_blocks(weights: Weights, part: Part, *, here: bool) -> int:
    blocks = block_bytes(weights, part)
    stay = round(sum(count * size for count, size in blocks) * part.share)
    largest = max((size for _, size in blocks), default=0)
    passing = largest * part.at_once * (1 + part.ahead) if here else 0
    return rest_bytes(weights, part) + min(stay + passing, sum(c * size for c, size in blocks))


def _activations(profile: Profile, plan: Plan, law: Law, call: Call) -> int:
    """What one call has in memory beside the weights."""
    weights, part = profile.components[call.component], plan.parts[call.component]
    used = _as_used(profile, plan, call.component, call)
    wider = _WIDER[used.dtype]
    live = call.narrow_bytes * wider + call.other_bytes
    live += call.convolution_bytes * wider * law.workspace.get(call.convolution_axes, 0.0)
    if call.component in plan.model.denoisers:
        live += call.scores * plan.scores * _NUMBER_BYTES[used.dtype] * law.copies_of_scores
    sliced = plan.sliced and call.component == "vae"
    pictures = plan.multiple / (plan.workload.batch * plan.multiple if sliced else 1)
    compiled = call.component in plan.compiled
    return round(live * pictures) + unpacked_bytes(weights, part, compiled=compiled)


def _kept(profile: Profile, plan: Plan, call: Call) -> int:
    """What a cache keeps from one step to the next."""
    number = _NUMBER_BYTES[plan.parts[call.component].dtype]
    blocks = sum(block.count for block in profile.components[call.component].blocks)
    outputs = plan.kept_outputs + plan.kept_per_block * blocks
    return round(outputs * call.hidden * number * plan.multiple)


def _host_bytes(profile: Profile, plan: Plan) -> int:
    """What must lie in host memory between two calls, beside an accelerator."""
    total = 0
    for component, weights in profile.components.items():
        part = plan.parts[component]
        if part.place in (Place.DEVICE, Place.GONE, Place.STAGED) or part.from_disk:
            continue  # what is only read may stay in its file
        whole = part_bytes(weights, part)
        total += whole - (_in_blocks(weights, part, here=False) if part.share else 0)
    return total
