"""The README promises what is so: its commands parse, its code runs, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from autotune.cli.parser import COMMANDS, make_parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
BASH = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]


def test_the_first_screen_has_exactly_two_complete_commands():
    screen = README.split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)\n```", screen, re.DOTALL)
    assert len(commands) == 2
    for command in commands:
        assert command.startswith("python3 -m venv ")
        assert "-c constraints.txt" in command
        assert "\n" not in command
    assert commands[0].endswith("autotune suggest --model demo --vram 1GB")
    assert commands[1].endswith("tox")


def test_ci_runs_the_readme_command():
    ci = (ROOT / ".ci" / "run").read_text()
    second = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)[1]
    for step in second.split(" && ")[2:]:
        assert step.replace("pip install ", "") in ci.replace("pip install --quiet ", "")


@pytest.mark.parametrize("line", BASH)
def test_every_autotune_command_parses(line):
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        if words[0] == "autotune":
            make_parser().parse_args(words[1:])


def test_every_command_is_listed():
    for name in COMMANDS:
        assert f"| `autotune {name}` |" in README


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), f"{page} links to {target}"


def test_all_ten_promises_are_printed():
    assert [f"R{number}" for number in range(1, 11)] == re.findall(r"\*\*(R\d+)\*\*", README)


def test_tox_has_the_names_that_are_promised():
    listed = subprocess.run(
        ["grep", "-oE", r"^\[testenv:\w+\]", str(ROOT / "tox.ini")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ("lint", "types", "faults", "wheel", "readme", "bench", "gpu"):
        assert f"[testenv:{name}]" in listed
