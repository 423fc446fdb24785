"""A disk that fills up, and one that is read-only: file systems of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.recipe.read import parse_recipe
from autotune.search import disk
from tests.cli.command import command, environment
from tests.sources import ROOT

SUGGEST = ("suggest", "--model", "demo", "--device", "cpu", "--vram", "1GB")
#: A user and mounts of one's own, without being root.
APART = ("unshare", "--user", "--map-root-user", "--mount")


def _refused() -> str | None:
    """Why this machine gives a user no mounts of his own."""
    if shutil.which("unshare") is None:
        return "needs unshare"
    line = [*APART, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(line, capture_output=True, text=True)
    return f"the kernel forbids it: {tried.stderr.strip()}" if tried.returncode else None


NO_MOUNTS = _refused()
mounts = pytest.mark.skipif(NO_MOUNTS is not None, reason=NO_MOUNTS or "")


@pytest.mark.skipif("CI" not in os.environ, reason="elsewhere they may be forbidden")
def test_in_ci_mounts_of_ones_own_are_allowed() -> None:
    assert NO_MOUNTS is None, "all tests of full and read-only disks would be skipped"


def after(script: str, *line: str | bytes, **env: str) -> tuple[int, str, str]:
    """Run a command after a few mounts that nobody else sees; its status and what it says."""
    ended = subprocess.run(
        [*APART, "sh", "-c", f'set -e; {script}; exec "$@"', "sh", *line],
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        timeout=120,
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@mounts
@pytest.mark.fault("C12")
def test_a_study_does_not_begin_on_a_disk_without_room(tmp_path: Path) -> None:
    code, _, err = after(
        f"mount -t tmpfs -o size=64k tmpfs {tmp_path}",
        *command(*SUGGEST, "--runs", str(tmp_path / "runs")),
    )
    assert code == 3, err
    assert f"error: no space left in '{tmp_path}/runs': 64 KiB are free, and a trial may" in err
    assert "Traceback" not in err


#: A study whose fifth trial fills the disk to the last byte.
FILLS = """
import sys
from pathlib import Path
from autotune.errors import AutotuneError
from autotune.search import disk
from tests.search.studies import WORLD, study

folder = Path(sys.argv[1])
disk._RESERVE_BYTES = int(sys.argv[2])

def answer(spec):
    if spec.trial == "0005":
        with (folder / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
    return WORLD(spec)

(folder / "study").mkdir()
try:
    study(folder / "study", answer)
except AutotuneError as error:
    print(int(error.exit_code), error.message)
recipe = folder / "study" / "recipe.json"
print(recipe.read_text() if recipe.exists() else "")
"""


def fill(folder: Path, reserve_bytes: int) -> tuple[str, str]:
    """What the study on a disk that fills up says, and the recipe it leaves."""
    code, out, err = after(
        f"mount -t tmpfs -o size=80m tmpfs {folder}",
        *(sys.executable, "-c", FILLS, str(folder), str(reserve_bytes)),
    )
    assert code == 0, err
    said, _, recipe = out.partition("\n")
    return said, recipe


@mounts
@pytest.mark.fault("C12")
def test_a_disk_that_fills_up_ends_the_study_and_the_best_so_far_is_written(
    tmp_path: Path,
) -> None:
    said, recipe = fill(tmp_path, disk._RESERVE_BYTES)
    assert said.startswith(f"3 no space left in '{tmp_path}/study': 0 B are free, ")
    assert parse_recipe(recipe.encode()).status == "provisional"


@mounts
@pytest.mark.fault("C12")
def test_without_the_reserve_the_best_so_far_would_be_lost(tmp_path: Path) -> None:
    said, recipe = fill(tmp_path, 0)
    assert said.startswith("3 no space left in ")
    assert recipe.strip() == ""


@mounts
@pytest.mark.fault("C14")
def test_a_cache_that_is_read_only_is_said_in_a_sentence(tmp_path: Path) -> None:
    code, _, err = after(
        f"mount --bind {tmp_path} {tmp_path}; mount -o remount,bind,ro {tmp_path}",
        *command(*SUGGEST, "--runs", str(tmp_path / "runs")),
        AUTOTUNE_CACHE=str(tmp_path),
    )
    assert code == 3
    assert err == (
        "error: the cache folder cannot be made: Read-only file system\n\n"
        "hint: set AUTOTUNE_CACHE to a folder that can be written\n"
    )
