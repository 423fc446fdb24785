"""How long an estimate takes: the first, the later ones, and a thousand candidates of Flux.

    python tests/benchmarks/estimate.py [--rounds N]

Each is a ratio measured in this run: a first estimate against importing what it needs, a later one
against an empty Python, an estimated candidate against asking the rules about it.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.memory import estimate_memory
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import read_profile
from autotune.levers import offered_choices
from autotune.levers.rules import broken_rule
from autotune.models.catalog import find
from autotune.models.published import planned_model

#: Issue 4: a first estimate on two cores in 20 s, a later one in 0.5 s, a thousand in 2 s.
_FIRST_S, _LATER_S, _THOUSAND_S = 20.0, 0.5, 2.0
_IMPORTS = (
    "import torch, diffusers, transformers; diffusers.FluxPipeline; transformers.T5EncoderModel"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name)
        first_s, imports_s = [], []
        for number in range(rounds + 1):
            first_s.append(command_s(cache / str(number)))
            imports_s.append(python_s(_IMPORTS))
        report("first estimate of Flux / its imports", first_s[1:], imports_s[1:], _FIRST_S)
        later_s = [command_s(cache / "0") for _ in range(rounds + 1)]
        empty_s = [python_s("pass") for _ in range(rounds + 1)]
        report("later estimate of Flux / python -c pass", later_s[1:], empty_s[1:], _LATER_S)
        estimated_s, ruled_s = candidates_s(cache / "0", rounds)
        report("1000 candidates estimated / asked of the rules", estimated_s, ruled_s, _THOUSAND_S)


def command_s(cache: Path) -> float:
    command = [sys.executable, "-m", "autotune", "estimate", "--model", "flux", "--json"]
    command += ["--vram", "12GB", "--gpu", "RTX 3060"]
    return seconds_of(command, {"AUTOTUNE_CACHE": str(cache)})


def python_s(code: str) -> float:
    return seconds_of([sys.executable, "-c", code], {})


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return time.perf_counter() - start


def candidates_s(cache: Path, rounds: int) -> tuple[list[float], list[float]]:
    """A thousand candidates of every lever, drawn by lot, without what was looked at before."""
    entry = find("flux")
    assert entry is not None
    model, card = planned_model(entry), device_of(find_card("RTX 3060"))
    profile_path = next((cache / "profiles").glob("*.json"))
    offered = offered_choices(card, None)
    lot = random.Random(0)
    estimated, ruled = [], []
    for _ in range(rounds):
        profile = read_profile(profile_path)  # a new one knows no sums
        drawn = [
            {lever: lot.choice(found).id for lever, found in offered.items()} for _ in range(1000)
        ]
        start = time.perf_counter()
        for candidate in drawn:
            estimate_memory(profile, plan_of(model, card, candidate))
        estimated.append(time.perf_counter() - start)
        start = time.perf_counter()
        for candidate in drawn:
            broken_rule(candidate, device="cuda", family="flux", software={})
        ruled.append(time.perf_counter() - start)
    return estimated, ruled


def report(name: str, ours: list[float], theirs: list[float], promise_s: float) -> None:
    ours_s, theirs_s = statistics.median(ours), statistics.median(theirs)
    print(
        f"{name}: {ours_s / theirs_s:.2f} ({ours_s:.2f} s and {theirs_s:.3f} s, medians of "
        f"{len(ours)}; promised {promise_s} s: {'kept' if ours_s <= promise_s else 'MISSED'})",
        flush=True,
    )


if __name__ == "__main__":
    main()
