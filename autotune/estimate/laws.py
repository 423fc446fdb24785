"""What a kind of device adds to weights and activations, with where each number is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.estimate.profile import Weights
from autotune.levers.plan import Plan
from autotune.records import DeviceKind


@dataclass(frozen=True, kw_only=True)
class Law:
    """The terms that no counting shows.

    Args:
        context_bytes: What a process takes before its first tensor.
        slack: Of what tensors take, what the allocator holds on top.
        workspace: Of what the largest convolution reads and writes, what its kernel takes beside
            it, by the number of axes it goes over.
        copies_of_scores: How often the plain formula of attention has its scores in memory.
        margin: By how much the estimate is raised, so that it is rarely below what is measured.
        surely: Of the estimate without margin, what no candidate stays below.
    """

    context_bytes: int
    slack: float
    workspace: Mapping[int, float] = field(default_factory=dict)
    copies_of_scores: float = 2.0
    margin: float
    surely: float

    def touched(self, component: str, weights: Weights) -> float:
        """The share of a component's weights that is ever in memory."""
        return 1.0

    def beside(self, tensors: int, phase: str, plan: Plan) -> int:
        """What the process itself takes."""
        return self.context_bytes + round(tensors * self.slack)


_CARD = Law(
    context_bytes=512 << 20,
    slack=0.02,
    workspace={2: 3.2, 3: 1.0},
    margin=0.03,
    surely=0.9,
)
_HOST = Law(context_bytes=60 << 20, slack=0.0, margin=0.03, surely=0.8)


def law_of(kind: DeviceKind) -> Law:
    """The law of a kind of device."""
    return _HOST if kind in ("cpu", "mps") else _CARD
