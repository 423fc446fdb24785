"""`autotune suggest` that finds nothing, or is told to stop: statuses, sentences, no leftovers."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from autotune.recipe.read import read_recipe
from tests.cli.command import Ended, command, environment, run

pytestmark = pytest.mark.trials

#: The demo in a second a trial, with four candidates.
QUICK = (
    "suggest", "--model", "demo", "--device", "cpu", "--height", "128", "--width", "128",
    "--steps", "1", "--set", "attention=native", "--set", "dtype=fp32", "--effort", "quick",
)  # fmt: skip


# --------------------------------------------------------------------------------- nothing fits


@pytest.fixture(scope="module")
def nothing_fits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    folder = tmp_path_factory.mktemp("nothing")
    # The weights alone take 20 MB.
    return run(*QUICK, "--vram", "17MB", "--trials", "2", folder=folder), folder


def test_when_nothing_fits_the_status_is_1_and_no_recipe_is_written(
    nothing_fits: tuple[Ended, Path],
) -> None:
    ended, folder = nothing_fits
    assert ended.code == 1, ended.err
    assert "nothing fits 16 MiB: no recipe was written" in ended.out
    assert list(folder.rglob("recipe.json")) == []


def test_when_nothing_fits_the_smallest_budget_and_what_binds_are_named(
    nothing_fits: tuple[Ended, Path],
) -> None:
    ended, _ = nothing_fits
    assert re.search(r"smallest budget that would do: \d+ MiB \(seen to work, ", ended.out)
    assert re.search(r"what binds: \w+ during (load|encode|denoise|decode)\n", ended.out)


def test_the_budget_of_the_hint_gives_a_recipe(nothing_fits: tuple[Ended, Path]) -> None:
    ended, folder = nothing_fits
    hinted = re.search(r"^hint: --vram (\d+MB)$", ended.out, re.MULTILINE)
    assert hinted is not None, ended.out
    again = run(*QUICK, "--vram", hinted[1], "--json", folder=folder)
    assert again.code == 0, again.err
    recipe = read_recipe(folder / again.answer["recipe"])
    assert recipe.evidence.winner.peak_bytes <= recipe.budget.bytes


# ------------------------------------------------------------------------------------ signals


class Running:
    """A study in a process of its own that can be signalled."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = (folder / "stderr.txt").open("wb+")
        self.out = (folder / "stdout.txt").open("wb+")
        self.process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(),
            stdout=self.out,
            stderr=self.log,
            stdin=subprocess.DEVNULL,
        )
        self.family: list[psutil.Process] = []

    def wait_for(self, text: str, timeout_s: float = 60) -> None:
        """Wait until that stands on standard error."""
        until = time.monotonic() + timeout_s
        while text not in self.read(self.log):
            assert self.process.poll() is None, self.read(self.log)
            assert time.monotonic() < until, self.read(self.log)
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> tuple[int, float]:
        """Send a signal; the exit status, and how long it took to end."""
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        start = time.monotonic()
        self.process.send_signal(number)
        try:
            return self.process.wait(30), time.monotonic() - start
        finally:
            self.process.kill()

    def read(self, file: object) -> str:
        return Path(file.name).read_text()  # type: ignore[attr-defined]

    def survivors(self) -> list[psutil.Process]:
        return [
            one for one in self.family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE
        ]


@pytest.mark.fault("C1", "C2")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_signal_in_the_middle_of_a_study_leaves_a_provisional_recipe_and_no_process(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    running = Running(tmp_path, *QUICK, "--vram", "1GB", "--out", "best.json")
    running.wait_for("\n   1  baseline")
    time.sleep(0.4)  # into the second trial
    code, seconds = running.stop(number)
    assert code == status, running.read(running.log)
    assert seconds < 10
    assert len(running.family) >= 1  # the zygote at least
    assert running.survivors() == []
    recipe = read_recipe(tmp_path / "best.json")
    assert recipe.status == "provisional"
    assert "provisional: measured once" in running.read(running.out)
    assert "Traceback" not in running.read(running.log)


@pytest.mark.fault("C1")
def test_a_signal_before_anything_was_measured_is_answered_with_a_sentence(tmp_path: Path) -> None:
    running = Running(tmp_path, *QUICK, "--vram", "1GB", "--out", "best.json")
    running.wait_for("\nSearch\n")
    code, seconds = running.stop(signal.SIGINT)
    assert code == 130
    assert seconds < 10
    assert running.survivors() == []
    assert not (tmp_path / "best.json").exists()
    assert "interrupted before anything within the budget was measured\n" in running.read(
        running.out
    )
    assert "Traceback" not in running.read(running.log)


@pytest.mark.fault("C2")
def test_a_signal_while_torch_is_imported_leaves_no_process(tmp_path: Path) -> None:
    running = Running(tmp_path, *QUICK, "--vram", "1GB")
    until = time.monotonic() + 30
    while not psutil.Process(running.process.pid).children() and time.monotonic() < until:
        time.sleep(0.05)
    code, seconds = running.stop(signal.SIGTERM)
    assert code == 143, running.read(running.log)
    assert seconds < 15  # the import is given ten seconds to come to its end
    assert running.survivors() == []
    assert "Traceback" not in running.read(running.log)
