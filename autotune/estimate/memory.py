"""The least memory a candidate can take: the weights that lie on the device at once.

Only levers that say so (an optional ``memory(model, choice, resident)``) contribute. The result is
a lower bound: what it refuses cannot fit, what it passes may still not. The same for host memory
beside an accelerator (``host_memory``).
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.levers import load_levers
from autotune.records import Candidate, DeviceKind, Model

#: On the host weights are mapped from the file and count once touched: embeddings mostly are not.
_TOUCHED_SHARE: dict[DeviceKind, float] = {"cpu": 0.7, "mps": 0.7}


def weights_floor(model: Model, candidate: Candidate, device: DeviceKind) -> int:
    """Bytes below which the candidate's peak cannot lie on this device."""
    resident, _ = _floors(model, candidate)
    return int(sum(resident.values()) * _TOUCHED_SHARE.get(device, 1.0))


def host_floor(model: Model, candidate: Candidate) -> int:
    """Bytes of host memory that the candidate surely takes beside an accelerator."""
    _, host_bytes = _floors(model, candidate)
    return host_bytes


def _floors(model: Model, candidate: Candidate) -> tuple[Mapping[str, int], int]:
    """What lies on the device by component, and on the host, once every lever has had its say."""
    resident: Mapping[str, int] = {part.name: part.weight_bytes for part in model.components}
    host_bytes = 0
    for name, lever in load_levers().items():
        if name in candidate:
            if hasattr(lever, "host_memory"):
                host_bytes += lever.host_memory(model, candidate[name], resident)
            if hasattr(lever, "memory"):
                resident = lever.memory(model, candidate[name], resident)
    return resident, host_bytes
