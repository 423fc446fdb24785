"""A real study of the embedded model is killed again and again: nothing is lost, or run twice."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from autotune.recipe.read import read_recipe
from autotune.records import TrialSpec, candidate_key
from autotune.trial.wire import OUTCOME, SPEC, read_record
from tests.cli.command import command, environment, run

KILLS = 5
QUICK = (
    "suggest", "--model", "demo", "--device", "cpu", "--height", "128", "--width", "128",
    "--steps", "1", "--set", "dtype=fp32", "--set", "compile=none", "--vram", "1GB",
    "--trials", "4", "--effort", "quick",
)  # fmt: skip


def outcomes(folder: Path) -> dict[str, bytes]:
    """What trials have left so far, by their numbers."""
    found = folder.glob(f"autotune-runs/*/trials/*/{OUTCOME}")
    return {path.parent.name: path.read_bytes() for path in found}


@pytest.mark.fault("C3")
@pytest.mark.trials
def test_kills_of_a_real_study_lose_nothing_and_repeat_nothing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--leave-nothing"):
        pytest.skip("a minute: tox -e faults runs it; test_resume has the storm of thirty kills")
    lot, kept = random.Random(0), dict[str, bytes]()
    for _ in range(KILLS):
        study = subprocess.Popen(
            command(*QUICK),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        patience = time.monotonic() + 60
        while len(outcomes(tmp_path)) <= len(kept) and time.monotonic() < patience:
            assert study.poll() is None, "it ended before the storm did"
            time.sleep(0.05)
        time.sleep(lot.uniform(0, 0.3))
        study.send_signal(signal.SIGKILL)
        assert study.wait() == -signal.SIGKILL
        now = outcomes(tmp_path)
        assert {number: now.get(number) for number in kept} == kept, "an outcome was lost"
        kept = now
    ended = run(*QUICK, folder=tmp_path)
    assert ended.code == 0, ended.err
    (folder,) = (tmp_path / "autotune-runs").iterdir()
    now = outcomes(tmp_path)
    assert {number: now.get(number) for number in kept} == kept, "an outcome was lost"
    said = re.search(r"going on with an interrupted study: (\d+) trials are kept", ended.err)
    assert said is not None
    assert int(said[1]) == len(kept)
    # Trials that were cut off have no outcome, and of each kill there is one at the most.
    begun = [path.parent for path in folder.glob(f"trials/*/{SPEC}")]
    assert len(begun) - len(now) <= KILLS
    specs = [read_record(path, SPEC, TrialSpec) for path in begun if (path / OUTCOME).exists()]
    searched = Counter(
        candidate_key(spec.choices) for spec in specs if spec.purpose in ("baseline", "screen")
    )
    assert set(searched.values()) == {1}, "a candidate was tried twice"
    assert read_recipe(folder / "recipe.json").status == "confirmed"
