"""How fast autotune starts: `--help` against an empty Python, a forked trial against a cold one.

    python tests/benchmarks/start_up.py [--rounds N]

Both sides of each ratio are measured in this run, in turns, on an otherwise idle machine. The
figure is the ratio of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

#: What the project promises: 150 ms where an empty Python takes 20 ms; a quarter of a cold start.
HELP_PROMISE = 150 / 20
FORK_PROMISE = 1 / 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    help_s, empty_s = in_turns(
        rounds,
        lambda: seconds_of([sys.executable, "-m", "autotune", "--help"]),
        lambda: seconds_of([sys.executable, "-c", "pass"]),
    )
    report("autotune --help / python -c pass", help_s, empty_s, HELP_PROMISE)
    with tempfile.TemporaryDirectory() as folder, TrialStarts(Path(folder)) as starts:
        forked_s, cold_s = in_turns(rounds, starts.forked, starts.cold)
    report("first denoising step, forked / cold", forked_s, cold_s, FORK_PROMISE)


def in_turns(
    rounds: int, first: Callable[[], float], second: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """One discarded round each, to warm the disk cache, then both in turns."""
    first(), second()
    pairs = [(first(), second()) for _ in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def seconds_of(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def report(name: str, ours: list[float], theirs: list[float], promise: float) -> None:
    ratio = statistics.median(ours) / statistics.median(theirs)
    verdict = "kept" if ratio <= promise else "MISSED"
    print(
        f"{name}: {ratio:.3f} (promise ≤ {promise:.3f}: {verdict}); "
        f"medians {statistics.median(ours):.3f} s and {statistics.median(theirs):.3f} s, "
        f"{len(ours)} rounds, ranges {min(ours):.3f}–{max(ours):.3f} "
        f"and {min(theirs):.3f}–{max(theirs):.3f} s"
    )


class TrialStarts:
    """Starts the same baseline trial of the embedded model, forked and cold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __enter__(self) -> TrialStarts:
        from autotune.engine.local import LocalEngine
        from autotune.models.resolve import resolve
        from autotune.probe import probe_machine
        from autotune.probe.device import select_device
        from autotune.records import InspectSpec

        self.model = resolve("demo")
        self.device = select_device(probe_machine(), "cpu")
        self.engine = LocalEngine(
            device=self.device, pipeline=self.model.pipeline, folder=self.folder
        )
        found = self.engine.inspect(
            InspectSpec(model=self.model, device=self.device), self.folder / "inspect"
        )
        self.choices = {one.lever: one.id for one in found.choices if one.baseline}
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close()

    def forked(self) -> float:
        """Seconds from submit to the first denoising step, forked from the running zygote."""
        from autotune.records import Outcome

        folder, start = self.next_folder(), time.monotonic()
        self.engine.submit(self.spec(), folder)
        while not any(isinstance(event, Outcome) for event in self.engine.poll(0.1)):
            pass
        return first_step(folder) - start

    def cold(self) -> float:
        """The same for a fresh `python -m autotune.trial`."""
        from autotune.engine.child import child_environment
        from autotune.trial.wire import SPEC, write_record

        folder = self.next_folder()
        folder.mkdir()
        write_record(folder, SPEC, self.spec())
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "autotune.trial", str(folder)],
            env=child_environment(self.device, os.environ),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return first_step(folder) - start

    def next_folder(self) -> Path:
        self.count += 1
        return self.folder / f"trial {self.count}"

    def spec(self):
        from autotune.records import Effort, TrialSpec

        return TrialSpec(
            trial=f"{self.count:04d}",
            purpose="baseline",
            model=self.model,
            choices=self.choices,
            workload=self.model.workload,
            device=self.device,
            effort=Effort(name="start-up", warmups=1, samples=1),
            budget_bytes=None,
            deadline_s=120,
        )


def first_step(folder: Path) -> float:
    """When the trial began to denoise, on the system-wide monotonic clock."""
    lines = (folder / "progress.jsonl").read_text().splitlines()
    return next(step["at"] for step in map(json.loads, lines) if step["stage"] == "denoise")


if __name__ == "__main__":
    main()
