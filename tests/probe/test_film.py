"""What the camera writes is what the reader sees, whole or cut, in one file or in two."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.probe.camera import PERIOD_S
from autotune.probe.film import OLD, Film, FilmFile
from tests.stubs.nvml import GIB, StubNvml, card

UUID = str(card()["0.uuid"])
MOST_BYTES = 600
ROLLS = f"""
import sys
from pathlib import Path
from autotune.probe.camera import film
film({UUID!r}, Path(sys.argv[1]), {MOST_BYTES})
"""


def test_a_look_comes_twenty_times_a_second() -> None:
    assert 1 / PERIOD_S >= 20


def test_a_line_says_what_changed() -> None:
    film = Film()
    film.add({"default_clock_mhz": 1500, "max_clock_mhz": 1980})
    film.add({"at_s": 1.0, "used_bytes": 5, "processes": 0, "unknown": {"reasons": "why"}})
    film.add({"at_s": 1.5})
    film.add({"at_s": 2.0, "used_bytes": 7, "processes": None})
    assert (film.default_clock_mhz, film.max_clock_mhz) == (1500, 1980)
    assert film.unknown == {"reasons": "why"}
    assert [(one.at_s, one.used_bytes, one.processes) for one in film.frames] == [
        (1.0, 5, 0),
        (1.5, 5, 0),
        (2.0, 7, None),
    ]


def test_frames_are_found_by_their_moment_and_forgotten_but_for_the_one_that_holds() -> None:
    film = Film()
    for at_s in (1.0, 2.0, 3.0, 9.0):
        film.add({"at_s": at_s, "used_bytes": int(at_s)})
    assert film.at(0.5) is None
    assert [one.at_s for one in film.between(1.0, 3.0)] == [2.0, 3.0]
    peak = film.peak(0.0, 3.5)
    assert peak is not None
    assert peak.at_s == 3.0
    # A film that stops for longer than between two beats shows nothing meanwhile.
    assert [seconds for _, seconds in film.lasting(2.5, 9.5)] == [0.5, 1.0, 0.5]
    film.forget(2.5)
    assert [one.at_s for one in film.frames] == [2.0, 3.0, 9.0]
    film.forget(0.0)
    assert len(film.frames) == 3


def test_half_a_line_waits_and_a_broken_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "film.jsonl"
    reader = FilmFile(path)
    assert reader.read().frames == []
    path.write_text('{"at_s":1.0}\n{"at_s":2')
    assert [one.at_s for one in reader.read().frames] == [1.0]
    with path.open("a") as file:
        file.write('.5}\n{"at_s":\n{"at_s":3.0}\n')
    assert [one.at_s for one in reader.read().frames] == [1.0, 2.5, 3.0]
    reader.close()


@pytest.mark.parametrize("follow_s", [0.02, 0.9])
def test_a_file_that_is_full_is_put_aside_and_nothing_is_lost(
    nvml: StubNvml, tmp_path: Path, follow_s: float
) -> None:
    path = tmp_path / "film.jsonl"
    reader = FilmFile(path)
    shown = []
    with subprocess.Popen([sys.executable, "-c", ROLLS, str(path)], env=nvml.env()) as camera:
        try:
            give_up_at = time.monotonic() + 60
            while not Path(f"{path}{OLD}").exists() or len(shown) < 8:
                assert time.monotonic() < give_up_at
                shown.append(GIB * (len(shown) + 1))
                nvml.set(**{"0.free": 138 * GIB - shown[-1]})
                while not (frames := reader.read().frames) or frames[-1].used_bytes != shown[-1]:
                    assert time.monotonic() < give_up_at
                    time.sleep(follow_s)
        finally:
            camera.kill()
    times = [one.at_s for one in reader.film.frames]
    assert times == sorted(set(times))
    seen = [one.used_bytes for one in reader.film.frames]
    assert [size for size in dict.fromkeys(seen) if size in shown] == shown
    assert path.stat().st_size <= MOST_BYTES
    assert Path(f"{path}{OLD}").stat().st_size <= MOST_BYTES
    reader.close()
