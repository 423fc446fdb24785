"""What a candidate takes of the device, phase by phase, before anything has run.

Weights are exact and activations were counted; what a device adds to them is in `laws`. A peak has
a margin in it, so that what is said to fit does: it is meant to lie above what will be measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.estimate.laws import Law, law_of
from autotune.estimate.placed import as_used, on_device, on_host
from autotune.estimate.profile import Call, Profile, Work
from autotune.estimate.sizes import part_bytes, unpacked_bytes
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.levers.plan import Part, Place, Plan

#: Activations were counted in 16-bit floats.
_WIDER = {"fp32": 2.0, "bf16": 1.0, "fp16": 1.0}
_NUMBER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
#: Scores, and what the softmax makes of them.
_COPIES_OF_SCORES = 2.0
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

    ``allocated_bytes`` is what lies in tensors at the worst moment, ``expected_bytes`` what will
    probably be measured, ``peak_bytes`` the same with a margin, which what is said to fit has to
    stay within, and ``least_bytes`` what it cannot stay below.
    """

    phases: tuple[Phase, ...]
    allocated_bytes: int
    expected_bytes: int
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
    return MemoryEstimate(
        phases=phases,
        allocated_bytes=tensors,
        expected_bytes=worst.total,
        peak_bytes=round(worst.total * (1 + law.margin)),
        least_bytes=round(worst.total * law.surely),
        host_bytes=on_host(profile, plan),
    )


def _phases(profile: Profile, plan: Plan, law: Law) -> Iterator[Phase]:
    yield _phase("load", profile, plan, law, None)
    for name, call in _calls(profile, plan):
        yield _phase(name, profile, plan, law, call)


def _calls(profile: Profile, plan: Plan) -> Iterator[tuple[str, Call]]:
    """Every call with its phase; where none was counted, each component's, doing nothing."""
    if profile.uncounted is None:
        yield from (("encode", call) for call in profile.encode)
        yield from (("denoise", call) for call in profile.denoise)
        decode = profile.decode.get(plan.tiling) or profile.decode.get("off")
        yield from (("decode", call) for call in (decode,) if call is not None)
        return
    phases = dict.fromkeys(plan.model.denoisers, "denoise") | {"vae": "decode"}
    for component in profile.components:
        nothing = Call(component=component, count=1, work=Work(), narrow_bytes=0, other_bytes=0)
        yield phases.get(component, "encode"), nothing


def _phase(name: str, profile: Profile, plan: Plan, law: Law, call: Call | None) -> Phase:
    bytes_ = {
        component: round(on_device(profile, plan, component, name, call) * law.weights)
        for component in profile.components
    }
    if call is not None and _computes_here(plan, call.component):
        bytes_[ACTIVATIONS] = _activations(profile, plan, law, call)
    if name in ("denoise", "decode"):
        bytes_[KEPT] = _kept(profile, plan)
    bytes_[BESIDE] = _beside(profile, plan, law)
    return Phase(name=name, bytes={part: size for part, size in bytes_.items() if size})


def _computes_here(plan: Plan, component: str) -> bool:
    """Whether a component's calls are made on the device, the first one at least."""
    on_host = plan.device.kind in ("cpu", "mps")
    return on_host or plan.parts[component].place not in (Place.HOST, Place.GONE)


def _activations(profile: Profile, plan: Plan, law: Law, call: Call) -> int:
    """What one call has in memory beside the weights."""
    weights, part = profile.components[call.component], plan.parts[call.component]
    dtype = as_used(profile, plan, call.component, call).dtype
    compiled = plan.runs_compiled(call.component)
    wider = _WIDER[dtype]
    live = (call.narrow_bytes * wider + call.other_bytes) * law.live
    live += sum(
        size * wider * law.workspace.get((axes, dtype), 0.0)
        for axes, size in ((2, call.flat_bytes), (3, call.deep_bytes))
    )
    if call.component in plan.model.denoisers:
        written = plan.scores + (0.0 if compiled else plan.scores_uncompiled)
        copies = law.copies_of_scores.get(dtype, _COPIES_OF_SCORES)
        live += call.scores * written * _NUMBER_BYTES[dtype] * copies
    sliced = plan.sliced and call.component == "vae"
    pictures = 1 / plan.workload.batch if sliced else plan.multiple
    return round(live * pictures) + unpacked_bytes(weights, part, compiled=compiled)


def _kept(profile: Profile, plan: Plan) -> int:
    """What a cache keeps from one step to the next, and until the picture is decoded.

    For every denoiser, and for every pass of a step: with guidance there are two.
    """
    passes = max(1, round(sum(call.count for call in profile.denoise) / plan.workload.steps))
    total = 0.0
    for name in plan.model.denoisers:
        weights = profile.components.get(name)
        hidden = max((one.hidden for one in profile.denoise if one.component == name), default=0)
        blocks = sum(block.count for block in weights.blocks) if weights else 0
        outputs = plan.kept_outputs + plan.kept_per_block * blocks
        total += outputs * hidden * _NUMBER_BYTES[plan.parts[name].dtype] * passes
    return round(total * plan.multiple)


def _beside(profile: Profile, plan: Plan, law: Law) -> int:
    """What the process takes for itself, and what packing weights leaves behind in it."""
    formats = {part.dtype for part in plan.parts.values()}
    total = law.process_bytes + sum(law.format_bytes.get(one, 0) for one in formats)
    if any(plan.runs_compiled(name) for name in plan.parts):
        total += law.compiler_bytes
    packages = set()
    for name, part in plan.parts.items():
        package = _packed_by(part)
        if package in law.packing:
            packages.add(package)
            plain = part_bytes(profile.components[name], Part(dtype=part.dtype))
            total += round(plain * law.packing[package][1])
    total += sum(law.packing[package][0] for package in packages)
    return total


def _packed_by(part: Part) -> str:
    if part.quantizer is not None:
        return QUANTIZERS[part.quantizer].package.partition(">")[0]
    return "casting" if part.cast else ""
