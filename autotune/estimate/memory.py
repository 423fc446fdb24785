"""The least memory a candidate can take: the weights that lie on the device at once.

Only levers that say so (an optional ``memory(model, choice, resident)``) contribute. The result is
a lower bound: what it refuses cannot fit, what it passes may still not.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.levers import load_levers
from autotune.records import Candidate, DeviceKind, Model

#: On the host weights are mapped from the file and count once touched: embeddings mostly are not.
_TOUCHED_SHARE: dict[DeviceKind, float] = {"cpu": 0.7, "mps": 0.7}


def weights_floor(model: Model, candidate: Candidate, device: DeviceKind) -> int:
    """Bytes below which the candidate's peak cannot lie on this device."""
    resident: Mapping[str, int] = {part.name: part.weight_bytes for part in model.components}
    for name, lever in load_levers().items():
        if name in candidate and hasattr(lever, "memory"):
            resident = lever.memory(model, candidate[name], resident)
    return int(sum(resident.values()) * _TOUCHED_SHARE.get(device, 1.0))
