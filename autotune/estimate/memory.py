"""The least memory a candidate can take: its weights, all of them resident.

Only levers that say so (an optional ``memory(model, choice)``) contribute. The result is a lower
bound: what it refuses cannot fit, what it passes may still not.
"""

from __future__ import annotations

from autotune.levers import load_levers
from autotune.records import Candidate, DeviceKind, Model

#: On the host weights are mapped from the file and count once touched: embeddings mostly are not.
_TOUCHED_SHARE: dict[DeviceKind, float] = {"cpu": 0.7, "mps": 0.7}


def weights_floor(model: Model, candidate: Candidate, device: DeviceKind) -> int:
    """Bytes below which the candidate's peak cannot lie on this device."""
    bounds = [
        lever.memory(model, candidate[name])
        for name, lever in load_levers().items()
        if name in candidate and hasattr(lever, "memory")
    ]
    stored = sum(part.weight_bytes for part in model.components)
    return int(min(bounds, default=stored) * _TOUCHED_SHARE.get(device, 1.0))
