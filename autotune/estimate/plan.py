"""What a candidate makes of a model: every lever asked in turn."""

from __future__ import annotations

from autotune.levers import load_levers
from autotune.levers.plan import Part, Plan
from autotune.records import Candidate, Device, Model

#: What ``from_pretrained`` makes of weights without a format that torch computes in.
_OTHERWISE = "fp32"
_FORMATS = ("fp32", "bf16", "fp16")


def plan_of(model: Model, device: Device, candidate: Candidate) -> Plan:
    """The plan of a candidate; levers that say nothing of themselves change nothing."""
    parts = {
        part.name: Part(dtype=part.dtype if part.dtype in _FORMATS else _OTHERWISE)
        for part in model.components
        if part.parameters
    }
    plan = Plan(model=model, device=device, workload=model.workload, parts=parts)
    for name, lever in load_levers().items():
        if name in candidate and hasattr(lever, "plan"):
            plan = lever.plan(plan, candidate[name])
    return plan
