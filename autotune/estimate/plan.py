"""What a candidate makes of a model: every lever asked in turn."""

from __future__ import annotations

from autotune.levers import is_built_in, load_levers
from autotune.levers.plan import Part, Plan
from autotune.records import Candidate, Component, Device, Model

#: What ``from_pretrained`` makes of weights without a format that torch computes in.
_OTHERWISE = "fp32"
_FORMATS = ("fp32", "bf16", "fp16")
_PACKED = ("int", "uint")


def plan_of(model: Model, device: Device, candidate: Candidate) -> Plan:
    """The plan of a candidate; levers that say nothing of themselves change nothing."""
    parts = {part.name: _as_stored(part) for part in model.components if part.parameters}
    plan = Plan(model=model, device=device, workload=model.workload, parts=parts)
    for name, lever in load_levers().items():
        if name not in candidate or not hasattr(lever, "plan"):
            continue
        try:
            plan = lever.plan(plan, candidate[name])
        except Exception:
            if is_built_in(lever):
                raise  # one of others' that fails changes nothing
    return plan


def _as_stored(part: Component) -> Part:
    if part.dtype in _FORMATS:
        return Part(dtype=part.dtype)
    # Packed weights stay as they are in their file; others become what torch computes in.
    packed = part.dtype is not None and part.dtype.startswith(_PACKED)
    return Part(dtype=_OTHERWISE, file_bytes=part.weight_bytes if packed else None)
