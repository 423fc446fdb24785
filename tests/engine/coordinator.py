"""A coordinator for tests to kill: run one trial with a choice of the chaos lever, and wait."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.engine.local import LocalEngine
from tests.trial.bench import CPU, trial_spec


def main(folder: Path, choice: str, device: str) -> None:
    engine = LocalEngine(
        device=CPU.but(uuid=device), pipeline="StableDiffusionPipeline", folder=folder
    )
    engine.submit(trial_spec(choices={"chaos": choice}, deadline_s=600.0), folder / "trial")
    while True:
        engine.poll(1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
