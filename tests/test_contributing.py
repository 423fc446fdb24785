"""CONTRIBUTING is true: its example lever works as it stands, its command makes the table."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from autotune.levers import load_levers
from autotune.report.levers import markdown_table
from tests.sources import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL))
TABLE = re.compile(r"(?<=<!-- levers -->\n).*?(?=<!-- end -->)", re.DOTALL)

#: Runs one trial with the lever on, and one with it off, of the tiny pipeline named.
TRY = """
import json, sys, tempfile
from pathlib import Path
from autotune.levers import offered_choices
from autotune.models.structure import Structure
from autotune.trial.run import run_trial
from tests.trial.bench import CPU, SMALL, tiny_model, trial_spec

model = tiny_model(sys.argv[1])
offered = offered_choices(CPU, Structure(model, SMALL))["freeu"]
told = {"why": {one.id: one.unavailable for one in offered}, "outcomes": {}, "pictures": {}}
for choice in ("off", "on"):
    folder = Path(tempfile.mkdtemp())
    outcome = run_trial(trial_spec(model=sys.argv[1], choices={"freeu": choice}), folder)
    told["outcomes"][choice] = outcome.model_dump(mode="json")
    pictures = sorted(folder.glob("*.png"))
    told["pictures"][choice] = pictures[0].read_bytes().hex() if pictures else None
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example lever as pip would leave it."""
    folder = tmp_path_factory.mktemp("installed")
    groups = tomllib.loads(BLOCKS["toml"])["project"]["entry-points"]
    info = folder / "freeu-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: freeu\nVersion: 1.0\n")
    lines = []
    for group, entries in groups.items():
        lines.append(f"[{group}]")
        for name, module in entries.items():
            lines.append(f"{name} = {module}")
            (folder / f"{module}.py").write_text(BLOCKS["python"])
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(*words: str, path: Path) -> str:
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(path)])},
        cwd=path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]


def test_the_example_is_a_whole_lever_of_at_most_thirty_lines() -> None:
    assert len(BLOCKS["python"].splitlines()) <= 30


def test_the_example_is_listed_beside_the_built_in_levers(installed: Path) -> None:
    answer = python("-m", "autotune", "levers", "--device", "cpu", "--json", path=installed)
    found = {one["id"]: one for one in json.loads(answer) if one["lever"] == "freeu"}
    assert list(found) == ["off", "on"]
    assert found["on"]["stage"] == "build"
    assert found["on"]["fidelity"] == "any"
    assert {one["lever"] for one in json.loads(answer)} == {*load_levers(), "freeu"}


@pytest.mark.trials
def test_the_example_is_applied_and_engaged_in_a_trial(installed: Path) -> None:
    told = json.loads(python("-c", TRY, "sd15", path=installed))
    assert told["why"] == {"off": None, "on": None}
    assert {one["status"] for one in told["outcomes"].values()} == {"measured"}
    evidence = {id: one["engaged"]["freeu"] for id, one in told["outcomes"].items()}
    assert evidence["on"] == {"engaged": True, "detail": "2 blocks weighed"}
    assert evidence["off"] == {"engaged": True, "detail": "0 blocks weighed"}
    assert told["pictures"]["on"] != told["pictures"]["off"] is not None


@pytest.mark.trials
def test_the_example_says_where_it_cannot_be_had(installed: Path) -> None:
    told = json.loads(python("-c", TRY, "flux", path=installed))
    assert told["why"] == {"off": None, "on": "only a UNet has skip connections to weigh"}
    assert told["outcomes"]["off"]["status"] == "measured"
    assert told["outcomes"]["on"]["status"] == "unsupported"


def test_the_readme_has_the_table_of_the_levers_that_there_are() -> None:
    found = TABLE.findall((ROOT / "README.md").read_text())
    assert found == [markdown_table() + "\n"], "refresh it with the command in CONTRIBUTING.md"
    assert all(f"| `{name}` |" in found[0] for name in load_levers())


def test_the_command_that_is_named_refreshes_the_table(tmp_path: Path) -> None:
    right = (ROOT / "README.md").read_text()
    stale = TABLE.sub("| an old | table |\n", right)
    assert stale != right
    (tmp_path / "README.md").write_text(stale)
    (command,) = (line for line in BLOCKS["bash"].splitlines() if "README.md" in line)
    own = f"{shlex.quote(sys.executable)} -m autotune"
    subprocess.run(
        ["bash", "-c", re.sub(r"^autotune", own, command)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=True,
    )
    assert (tmp_path / "README.md").read_text() == TABLE.sub(
        lambda _: markdown_table() + "\n", right
    )
