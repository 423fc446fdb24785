"""What the coordinator itself takes of a study, beside the trials.

    python tests/benchmarks/coordinator.py [--trials 12]

One study of the demo by the local engine. Its own time is the processor time of this process, from
the moment in which the levers have answered (so with listing and foreseeing the space) to the
recipe; the trials' time is what they took from start to end, confirmation included.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import autotune
from autotune.search import study
from autotune.search.history import History, Tried
from autotune.search.listener import Silence

#: What the project promises (issue 5).
PROMISE = 0.02


class Clock(Silence):
    """Adds up what trials took."""

    def __init__(self) -> None:
        self.trials_s = 0.0

    def ended(self, tried: Tried, history: History) -> None:
        self.trials_s += tried.cost_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    asked = parser.parse_args()
    begun: list[float] = []
    hunts = study._hunts

    def noted(*arguments):
        begun.append(time.process_time())
        return hunts(*arguments)

    study._hunts = noted
    clock = Clock()
    with tempfile.TemporaryDirectory() as runs:
        result = autotune.suggest(
            "demo", vram="1GB", device="cpu", trials=asked.trials, runs=runs, listener=clock
        )
    own_s = time.process_time() - begun[0]
    share = own_s / clock.trials_s
    print(
        f"coordinator: {own_s:.2f} s of processor time beside {clock.trials_s:.1f} s of "
        f"{result.trials} trials: {share:.1%} (promise {PROMISE:.0%}): "
        f"{'kept' if share <= PROMISE else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
