"""Levers of third parties come in through entry points, and a broken one does no harm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.levers import load_levers
from autotune.records import Stage
from tests.trial.bench import CHAOS, ROOT

GOOD = """
from autotune.records import Choice, Evidence, Stage
name, what, stage = {name!r}, "a test", Stage.{stage}
def choices(device, view): return (Choice(lever=name, id="off", what="off", baseline=True),)
def apply(target, choice): pass
def engaged(target, choice): return Evidence(engaged=True, detail="yes")
"""
ASK = """
import json
from autotune.levers import broken_levers, load_levers
levers = {name: lever.__name__ for name, lever in load_levers().items()}
print(json.dumps([list(levers), levers, dict(broken_levers())]))
"""


def install(folder: Path, distribution: str, code: str) -> None:
    """What pip leaves behind for a distribution of one module."""
    (folder / f"{distribution}.py").write_text(code)
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    entry = f"[autotune.levers]\nentry-of-{distribution} = {distribution}\n"
    (info / "entry_points.txt").write_text(entry)


def ask(folder: Path) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """The levers by name and module, and the broken ones, as a fresh process sees them."""
    found = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    order, levers, broken = json.loads(found.stdout)
    return order, levers, broken


def test_a_good_lever_is_found_and_comes_last_in_its_stage(tmp_path: Path) -> None:
    install(tmp_path, "goodlever", GOOD.format(name="good", stage="BUILD"))
    install(tmp_path, "earlylever", GOOD.format(name="early", stage="LOAD"))
    order, levers, broken = ask(tmp_path)
    assert levers["good"] == "goodlever"
    known = {name: lever.stage for name, lever in load_levers().items()}
    known |= {"early": Stage.LOAD, "good": Stage.BUILD}
    stages = list(Stage)
    assert order == sorted(known, key=lambda name: stages.index(known[name]))
    assert broken == {}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('I need a GPU')", "SystemExit: I need a GPU"),
        ("def broken(:", "SyntaxError"),
        ("name = 'half a lever'", "TypeError: badlever lacks a member"),
        (
            GOOD.format(name="bad", stage="BUILD") + "stage = 'build'",
            "TypeError: badlever has a stage",
        ),
        (GOOD.format(name="bad=worse", stage="BUILD"), "TypeError: badlever has a name"),
        (GOOD.format(name="bad", stage="BUILD") + "name = None", "TypeError: badlever has a name"),
    ],
)
def test_a_broken_lever_is_listed_and_the_rest_still_works(
    tmp_path: Path, code: str, reason: str
) -> None:
    install(tmp_path, "badlever", code)
    install(tmp_path, "goodlever", GOOD.format(name="good", stage="CALL"))
    order, _, broken = ask(tmp_path)
    assert order == [*load_levers(), "good"]
    assert list(broken) == ["entry-of-badlever = badlever"]
    assert broken["entry-of-badlever = badlever"].startswith(reason)


def test_a_lever_cannot_take_the_name_of_a_built_in_one(tmp_path: Path) -> None:
    install(tmp_path, "thief", GOOD.format(name="attention", stage="BUILD"))
    _, levers, broken = ask(tmp_path)
    assert levers["attention"] == "autotune.levers.attention"
    assert broken == {
        "entry-of-thief = thief": "ValueError: there is a lever named attention already"
    }


def test_of_two_levers_with_one_name_the_second_is_listed_as_broken(tmp_path: Path) -> None:
    for distribution in ("onelever", "twolever"):
        install(tmp_path, distribution, GOOD.format(name="same", stage="BUILD"))
    _, levers, broken = ask(tmp_path)
    assert len(broken) == 1
    assert f"entry-of-{levers['same']} = {levers['same']}" not in broken


def test_the_chaos_lever_of_the_fault_tests_is_a_good_one() -> None:
    _, levers, broken = ask(CHAOS)
    assert levers["chaos"] == "chaos_lever"
    assert broken == {}
