"""The commands that answer at once: help, version, explain, probe, levers, doctor."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import autotune
from autotune.cli.parser import COMMANDS
from autotune.levers import load_levers
from autotune.recipe.write import render_recipe
from tests.cli.command import command, environment, run
from tests.recipe.factory import make_recipe

HEAVY = ("torch", "diffusers", "transformers", "optuna", "ray", "pynvml")
#: Takes those modules away, and writes down who asks for them.
BLOCKER = f"""
import os, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            with open(os.environ["ASKED"], "a") as file:
                print(name, file=file)
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    path.write_bytes(render_recipe(make_recipe()))
    return path


def test_the_help_of_the_program_lists_every_command_and_has_an_example(tmp_path: Path) -> None:
    ended = run("--help", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "example:\n  autotune suggest --model demo" in ended.out
    assert all(f"    {name} " in ended.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example_of_it(tmp_path: Path, name: str) -> None:
    ended = run(name, "--help", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert f"example:\n  autotune {name}" in ended.out


def test_version_prints_the_version_of_the_package(tmp_path: Path) -> None:
    ended = run("--version", folder=tmp_path)
    assert (ended.code, ended.out) == (0, f"autotune {autotune.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["explain"], ["explain", "--json"]]
)
def test_it_works_without_torch_diffusers_optuna_and_ray_and_does_not_ask_for_them(
    tmp_path: Path, recipe: Path, arguments: list[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    asked = tmp_path / "asked"
    env = {"PYTHONPATH": str(tmp_path), "ASKED": str(asked)}
    if arguments[0] == "explain":
        arguments = [*arguments, str(recipe)]
    ended = run(*arguments, folder=tmp_path, env=env)
    assert ended.code == 0, ended.err
    assert ended.err == ""
    assert ended.out
    assert not asked.exists(), asked.read_text()


def test_the_blocker_of_that_test_blocks(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    env = {"PYTHONPATH": str(tmp_path), "ASKED": str(tmp_path / "asked")}
    ended = run("suggest", "--model", "demo", folder=tmp_path, env=env)
    assert ended.code != 0
    assert "torch" in (tmp_path / "asked").read_text()


def test_explain_says_in_words_what_a_recipe_says(tmp_path: Path, recipe: Path) -> None:
    ended = run("explain", str(recipe), folder=tmp_path)
    assert ended.out.startswith("recipe.json: confirmed")
    assert "verdict:  faster" in ended.out


def test_explain_refuses_a_recipe_that_was_changed_unless_told_so(
    tmp_path: Path, recipe: Path
) -> None:
    changed = tmp_path / "changed.json"
    changed.write_text(recipe.read_text().replace("seen in 12 modules", "seen in 13 modules"))
    ended = run("explain", str(changed), folder=tmp_path)
    assert ended.code == 2
    assert "does not match its digest" in ended.err
    assert "--accept-modified" in ended.err
    assert run("explain", "--accept-modified", str(changed), folder=tmp_path).code == 0


def test_what_the_terminal_cannot_show_is_escaped(tmp_path: Path, recipe: Path) -> None:
    ended = run("explain", str(recipe), folder=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert ended.code == 0, ended.err
    assert "256\\xd7256" in ended.out


# ---------------------------------------------------------------------------------------- JSON


def test_probe_prints_one_json_object(tmp_path: Path) -> None:
    ended = run("probe", "--json", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    assert ended.answer["devices"][-1]["kind"] == "cpu"


def test_levers_prints_one_json_list_with_every_lever(tmp_path: Path) -> None:
    ended = run("levers", "--json", folder=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert {choice["lever"] for choice in ended.answer} == set(load_levers())
    assert {one["stage"] for one in ended.answer if one["lever"] == "dtype"} == {"load"}
    assert {one["fidelity"] for one in ended.answer} == {"exact", "close", "balanced", "any"}
    assert all(one["unavailable"] is None or one["unavailable"] for one in ended.answer)


def test_levers_can_leave_out_what_cannot_be_had(tmp_path: Path) -> None:
    every, here = (
        run("levers", "--device", "cpu", "--json", *more, folder=tmp_path).answer
        for more in ([], ["--available"])
    )
    assert here == [one for one in every if one["unavailable"] is None]
    assert len(here) < len(every)


@pytest.mark.trials
def test_levers_of_a_model_say_what_that_model_cannot_take(tmp_path: Path) -> None:
    ended = run("levers", "--model", "demo", "--device", "cpu", "--json", folder=tmp_path)
    assert ended.code == 0, ended.err
    reasons = {f"{one['lever']}={one['id']}": one["unavailable"] for one in ended.answer}
    assert "no sliced attention" in reasons["attention-slicing=max"]
    assert reasons["dtype=fp32"] is None


@pytest.mark.trials
def test_doctor_prints_one_json_list_of_findings(tmp_path: Path) -> None:
    ended = run("doctor", "--json", folder=tmp_path)
    assert ended.code in (0, 3)
    assert ended.out.count("\n") == 1
    assert ended.err == ""
    subjects = {finding["subject"] for finding in ended.answer}
    assert {"software", "trials", "disk", "levers"} <= subjects
    bad = [one for one in ended.answer if one["mark"] == "fail"]
    assert bool(bad) == (ended.code == 3)


# ---------------------------------------------------------------------- output that goes nowhere


@pytest.mark.fault("C16")
@pytest.mark.parametrize("arguments", [["--help"], ["probe"], ["probe", "--json"], ["levers"]])
def test_a_reader_that_has_gone_is_no_error(tmp_path: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            command(*arguments),
            cwd=tmp_path,
            env=environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.fault("C16")
@pytest.mark.parametrize("arguments", [["--help"], ["explain"], ["explain", "--json"]])
def test_a_standard_output_that_is_closed_is_no_error(
    tmp_path: Path, recipe: Path, arguments: list[str]
) -> None:
    line = [*command(*arguments), *([recipe] if arguments[0] == "explain" else [])]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *line],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.fault("C12")
def test_a_full_disk_is_told_in_the_house_form(tmp_path: Path, recipe: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("explain", str(recipe)),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: cannot write: No space left on device\n\nhint: ")
    assert b"Traceback" not in done.stderr
