"""Measure what a device can do: ``python -m autotune.estimate.ceilings_probe cuda``.

Products in each format that torch has on it, copies on it and to it, and launches, each the
median of several rounds; at most ten seconds in all. One JSON object is printed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

#: A measurement ends after so many rounds or seconds, the first round not counted.
_MOST_ROUNDS, _MOST_S = 7, 0.6
#: A round is long enough for the clock, and for what starting it costs not to show.
_ROUND_S = 0.02
#: Sides of square products: doubled until one product fills a round. On an accelerator smaller
#: ones do not fill it; the largest take half a GB in 32 bits, a twelfth of the smallest card.
_SIDES = {"cpu": (256, 2048), "gpu": (2048, 8192)}
#: Larger than what caches hold: 72 MB on a 4090, some 100 MB on large processors.
_COPIED_BYTES = 256 << 20
_LAUNCHES = 500


def measure(kind: str) -> dict[str, Any]:
    """Ceilings of the first device of a kind, as the record of that name has them."""
    import torch

    name = {"rocm": "cuda"}.get(kind, kind)
    wait = _waiter(torch, name)
    with torch.inference_mode():
        return {
            "source": "measured",
            "flops": _products(torch, name, wait),
            "copy_bytes_s": _copy(torch, name, wait),
            "host_to_device_bytes_s": _link(torch, name, wait),
            "launch_s": _launch(torch, name, wait),
        }


def _products(torch: Any, device: str, wait: Callable[[], None]) -> dict[str, float]:
    """Operations a second by format; those that fail are left out."""
    formats: dict[str, Callable[[int], Callable[[], Any]]] = {
        "fp32": lambda side: _product(torch, device, torch.float32, side),
        "bf16": lambda side: _product(torch, device, torch.bfloat16, side),
        "fp16": lambda side: _product(torch, device, torch.float16, side),
        "int8": lambda side: _int8_product(torch, device, side),
    }
    if device == "cuda":
        formats["tf32"] = formats["fp32"]
        formats["fp8"] = lambda side: _fp8_product(torch, device, side)
    found = {}
    for name, make in formats.items():
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        try:
            found[name] = _best_rate(make, wait, *_SIDES["cpu" if device == "cpu" else "gpu"])
        except (RuntimeError, NotImplementedError, TypeError, ValueError, AssertionError):
            continue  # this device, or this torch, has no such product
    if found.get("tf32", 0) <= found.get("fp32", 0):
        found.pop("tf32", None)  # no unit for it: the same was measured twice
    return found


def _best_rate(
    make: Callable[[int], Callable[[], Any]], wait: Callable[[], None], side: int, largest: int
) -> float:
    """The rate at the first size whose product fills a round, or at the largest."""
    while True:
        run = make(side)
        took = _median_s(run, wait)
        if side >= largest or took >= _ROUND_S:
            return 2 * side**3 / took
        del run
        side *= 2


def _product(torch: Any, device: str, dtype: Any, side: int) -> Callable[[], Any]:
    left = torch.randn(side, side, device=device, dtype=dtype)
    return lambda: left @ left


def _int8_product(torch: Any, device: str, side: int) -> Callable[[], Any]:
    left = torch.randint(-9, 9, (side, side), device=device, dtype=torch.int8)
    right = left.clone().t()
    return lambda: torch._int_mm(left, right)


def _fp8_product(torch: Any, device: str, side: int) -> Callable[[], Any]:
    left = torch.randn(side, side, device=device).to(torch.float8_e4m3fn)
    right, one = left.clone().t(), torch.ones((), device=device)
    return lambda: torch._scaled_mm(
        left, right, scale_a=one, scale_b=one, out_dtype=torch.bfloat16
    )


def _copy(torch: Any, device: str, wait: Callable[[], None]) -> float:
    """Bytes a second, read and written ones counted both."""
    # Zeros that nobody wrote are one page of the host's memory, which stays in its cache.
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2 * _COPIED_BYTES / _median_s(lambda: target.copy_(source), wait)


def _link(torch: Any, device: str, wait: Callable[[], None]) -> float | None:
    """Bytes a second from pinned host memory; none where the device's memory is the host's."""
    if device in ("cpu", "mps"):
        return None
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8).pin_memory()
    target = torch.zeros(_COPIED_BYTES, dtype=torch.uint8, device=device)
    return _COPIED_BYTES / _median_s(lambda: target.copy_(source, non_blocking=True), wait)


def _launch(torch: Any, device: str, wait: Callable[[], None]) -> float:
    one = torch.zeros(1, device=device)

    def many() -> None:
        for _ in range(_LAUNCHES):
            one.add_(1)

    return _median_s(many, wait) / _LAUNCHES


def _waiter(torch: Any, device: str) -> Callable[[], None]:
    """What waits until all that was started is done."""
    if device == "cpu":
        return lambda: None
    wait: Callable[[], None] = getattr(torch, device).synchronize
    return wait


def _median_s(run: Callable[[], Any], wait: Callable[[], None]) -> float:
    """Seconds of one call, in rounds of as many calls as fill one."""
    began = time.perf_counter()
    _round_s(run, wait, 1)  # libraries load and pick kernels
    times = max(1, round(_ROUND_S / max(_round_s(run, wait, 1), 1e-6)))
    rounds: list[float] = []
    while not rounds or (len(rounds) < _MOST_ROUNDS and time.perf_counter() - began < _MOST_S):
        rounds.append(_round_s(run, wait, times) / times)
    return statistics.median(rounds)


def _round_s(run: Callable[[], Any], wait: Callable[[], None], times: int) -> float:
    wait()
    began = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
