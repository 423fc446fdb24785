"""One study under everything at once: no home, a clock that jumps, a reader that goes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from autotune.recipe.read import read_recipe
from autotune.recipe.schema import Recipe
from tests.cli.command import command, environment, run

#: The wall clock of every process of the study jumps by days, back and forth, at every look.
JUMPS = """
import itertools, time
true, jumps = time.time, itertools.cycle((0, 86400 * 3, -86400 * 9, 86400))
time.time = lambda: true() + next(jumps)
time.time_ns = lambda: int(time.time() * 1e9)
"""
#: Not even root can make it.
NO_HOME = "/proc/no-home"
QUICK = (
    "suggest", "--model", "demo", "--device", "cpu", "--height", "128", "--width", "128",
    "--steps", "1", "--set", "dtype=fp32", "--vram", "1GB", "--trials", "1", "--effort", "quick",
    "--out", "best.json", "--json",
)  # fmt: skip


class Hard:
    """What came of the study, and how long it took by a clock that does not jump."""

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(JUMPS)
        start = time.monotonic()
        study = subprocess.Popen(
            command(*QUICK),
            cwd=folder,
            env=environment(PYTHONPATH=str(folder), HOME=NO_HOME),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert study.stdout is not None
        assert study.stderr is not None
        self.first_line = study.stderr.readline()
        study.stderr.close()  # as when the terminal, or what it is piped into, has gone
        self.out = study.stdout.read()
        study.stdout.close()
        self.code = study.wait(60)
        self.seconds = time.monotonic() - start
        self.folder = folder

    @property
    def recipe(self) -> Recipe:
        return read_recipe(self.folder / "best.json")


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Hard:
    return Hard(tmp_path_factory.mktemp("hard"))


@pytest.mark.trials
@pytest.mark.fault("C16")
def test_a_study_whose_progress_nobody_reads_answers_all_the_same(hard: Hard) -> None:
    assert hard.code == 0
    assert hard.first_line.startswith(b"model ")
    answer: dict[str, Any] = json.loads(hard.out)
    assert answer["status"] == "ok"
    assert hard.recipe.status == "confirmed"


@pytest.mark.trials
@pytest.mark.fault("C15")
def test_a_clock_that_jumps_decides_nothing(hard: Hard) -> None:
    answer = json.loads(hard.out)
    assert 0 < answer["seconds"] < hard.seconds
    samples = [s for process in hard.recipe.evidence.winner.processes_s for s in process]
    assert all(0 < seconds < hard.seconds for seconds in samples)


@pytest.mark.trials
@pytest.mark.fault("C14")
def test_without_a_home_a_cache_elsewhere_is_enough(hard: Hard) -> None:
    assert hard.code == 0


@pytest.mark.fault("C14")
def test_without_a_home_or_a_cache_one_sentence_says_how_to_move_it(tmp_path: Path) -> None:
    ended = run(*QUICK, folder=tmp_path, env={"HOME": NO_HOME, "AUTOTUNE_CACHE": ""})
    assert ended.code == 3
    assert ended.err == (
        "error: the cache folder cannot be made: No such file or directory\n\n"
        "hint: set AUTOTUNE_CACHE to a folder that can be written\n"
    )
