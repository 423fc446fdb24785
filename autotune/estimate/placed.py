"""Which bytes of a component's weights lie on the device at a moment, and which on the host."""

from __future__ import annotations

from autotune.estimate.profile import Call, Profile, Weights
from autotune.estimate.sizes import (
    block_bytes,
    fused_bytes,
    largest_layer,
    part_bytes,
    rest_bytes,
)
from autotune.levers.plan import Part, Place, Plan

#: These packages pack weights where they are used: on the card, while they are loaded.
_PACKED_ON_THE_CARD = ("bnb-", "torchao-int4wo")


def as_used(profile: Profile, plan: Plan, component: str, call: Call | None) -> Part:
    """The part as it is at the time of a call: some pipelines compute in fp32 what is fp16."""
    part = plan.parts[component]
    if call and call.component == component in profile.upcast and part.dtype == "fp16":
        return Part(dtype="fp32", place=part.place)
    return part


def on_device(profile: Profile, plan: Plan, component: str, phase: str, call: Call | None) -> int:
    """Bytes of a component's weights on the device at the worst moment of a call, or of load."""
    weights, part = profile.components[component], as_used(profile, plan, component, call)
    here = call is not None and call.component == component
    fused = plan.fused and component in plan.model.denoisers
    whole = part_bytes(weights, part) + (fused_bytes(weights, part) if fused else 0)
    if phase == "load" and _packed_there(plan, part):
        return whole
    if part.place is Place.GONE and plan.device.kind in ("cpu", "mps"):
        return whole  # until every prompt is known the encoders are there
    if part.place in (Place.HOST, Place.GONE):
        return 0
    if part.place in (Place.SWAPPED, Place.STAGED):
        return whole if here or _stays_behind(plan, component, part, phase) else 0
    if part.place is Place.LEAVES:
        return largest_layer(weights, part) * (1 + part.ahead) if here else 0
    if part.place is Place.BLOCKS:
        return _in_blocks(weights, part, here=here)
    return whole


def on_host(profile: Profile, plan: Plan) -> int:
    """What must lie in host memory between two calls, beside an accelerator."""
    total = 0
    for component, weights in profile.components.items():
        part = plan.parts[component]
        if part.place in (Place.DEVICE, Place.STAGED) or part.from_disk:
            continue  # what is only read may stay in its file
        whole = part_bytes(weights, part)
        total += whole - (_in_blocks(weights, part, here=False) if part.share else 0)
    return total


def _packed_there(plan: Plan, part: Part) -> bool:
    card = plan.device.kind not in ("cpu", "mps")
    return card and (part.quantizer or "").startswith(_PACKED_ON_THE_CARD)


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
    """The share of the blocks that stays, those that pass, and what is in no block.

    That comes and goes with the rest, unless some of the blocks stay.
    """
    blocks = block_bytes(weights, part)
    every = sum(count * size for count, size in blocks)
    largest = max((size for _, size in blocks), default=0)
    passing = largest * part.at_once if part.at_once else largest_layer(weights, part)
    passing = passing * (1 + part.ahead) if here else 0
    rest = rest_bytes(weights, part) if here or part.share else 0
    return rest + min(round(every * part.share) + passing, every)
