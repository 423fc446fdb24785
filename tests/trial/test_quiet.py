"""What else computes is seen by two instruments of the kernel, and only where both agree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autotune.trial import quiet
from autotune.trial.quiet import Moment, disturbance
from tests.sources import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def moment(**changes: float | None) -> Moment:
    values: dict[str, float | None] = dict.fromkeys(
        ("at_s", "all_s", "busy_s", "stolen_s", "own_s", "waited_s", "swapped_bytes"), 0.0
    )
    return Moment(**{**values, **changes})  # type: ignore[arg-type]


START = moment()


@pytest.mark.fault("G12")
@pytest.mark.parametrize(
    ("after", "said"),
    [
        # Two processors for a second, both busy with us.
        ({"busy_s": 2.0, "own_s": 2.0}, None),
        # Half of them for others, and we stood in the queue.
        (
            {"busy_s": 2.0, "own_s": 1.0, "waited_s": 0.9},
            "other processes took 50% of the processors' time",
        ),
        # Others on a processor that we did not want.
        ({"busy_s": 2.0, "own_s": 1.0, "waited_s": 0.01}, None),
        # Our own threads waited for each other.
        ({"busy_s": 2.0, "own_s": 1.99, "waited_s": 1.5}, None),
        # The hypervisor took it: nobody waited in a queue of ours.
        (
            {"busy_s": 2.0, "own_s": 1.6, "stolen_s": 0.4},
            "other processes took 20% of the processors' time",
        ),
        # Whoever did it, memory came from the disk.
        (
            {"busy_s": 2.0, "own_s": 2.0, "swapped_bytes": 64 << 20},
            "the host moved 64 MiB between memory and swap",
        ),
        ({"busy_s": 2.0, "own_s": 2.0, "swapped_bytes": 1 << 20}, None),
        # A kernel that does not count waiting.
        (
            {"busy_s": 2.0, "own_s": 1.8, "waited_s": None},
            "other processes took 10% of the processors' time",
        ),
    ],
)
def test_others_disturb_where_they_took_time_that_was_waited_for(
    after: dict[str, float | None], said: str | None
) -> None:
    assert disturbance(START, moment(at_s=1.0, all_s=2.0, **after)) == said


def test_what_is_too_short_to_be_seen_is_no_disturbance() -> None:
    # Two ticks of a tenth of a second.
    assert disturbance(START, moment(at_s=0.1, all_s=0.2, busy_s=0.12, own_s=0.1)) is None
    assert disturbance(START, START) is None
    assert disturbance(None, START) is None


@pytest.mark.fault("G12")
def test_only_processors_that_may_be_used_count(tmp_path: Path) -> None:
    usable = sorted(os.sched_getaffinity(0))
    other = max(usable) + 1
    lines = ["cpu 9 9 9 9 9 9 9 9 0 0"]
    lines += [f"cpu{number} 10 0 20 30 40 0 0 5 3 0" for number in usable]
    lines += [f"cpu{other} 1000 0 0 0 0 0 0 1000 0 0", "intr 5"]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("\n".join(lines))
    (tmp_path / "proc/vmstat").write_text("pgpgin 7\npswpin 30\npswpout 12\npswpinx 9\n")
    now = quiet.now(tmp_path)
    assert now is not None
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    assert now.all_s == pytest.approx(105 * len(usable) * tick_s)
    assert now.busy_s == pytest.approx(35 * len(usable) * tick_s)
    assert now.stolen_s == pytest.approx(5 * len(usable) * tick_s)
    assert now.waited_s is None
    assert now.swapped_bytes == 42 * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("text", ["", "cpu0 a b", "nonsense"])
def test_a_kernel_that_does_not_say_is_no_error(tmp_path: Path, text: str) -> None:
    assert quiet.now(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(text)
    assert quiet.now(tmp_path) is None


@contextmanager
def busy_processors() -> Iterator[None]:
    """Another session computes on every processor."""
    spin = [sys.executable, "-c", "while True: pass"]
    burners = [subprocess.Popen(spin, start_new_session=True) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for one in burners:
            one.kill()
            one.wait()


#: A process of its own, in whose session nothing else runs: it computes, then it sleeps.
BESIDE = """
import time
from autotune.trial import quiet

before, end = quiet.now(), time.perf_counter() + 1.5
while time.perf_counter() < end:
    pass
print(quiet.disturbance(before, quiet.now()))
before = quiet.now()
time.sleep(1.5)
print(quiet.disturbance(before, quiet.now()))
"""


@pytest.mark.fault("G12")
def test_a_busy_machine_is_seen_by_who_computes_and_not_by_who_sleeps() -> None:
    with busy_processors():
        time.sleep(0.5)  # until they have started
        ended = subprocess.run(
            [sys.executable, "-c", BESIDE],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            start_new_session=True,
            cwd=ROOT,
        )
    computing, sleeping = ended.stdout.splitlines()
    assert computing.startswith("other processes took ")
    assert sleeping == "None"


def test_settling_waits_until_others_have_ended() -> None:
    spin = "import time\nend = time.time() + 1.5\nwhile time.time() < end: pass"
    burner = subprocess.Popen([sys.executable, "-c", spin], start_new_session=True)
    time.sleep(0.3)
    quiet.settle(60.0)
    assert burner.poll() is not None or burner.wait(1) == 0


def test_settling_gives_up_in_time() -> None:
    with busy_processors():
        time.sleep(0.3)
        start = time.perf_counter()
        quiet.settle(0.6)
        assert time.perf_counter() - start < 30
