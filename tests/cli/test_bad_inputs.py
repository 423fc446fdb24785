"""Every bad input: its exit status, one sentence and one hint, before anything is made."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.cli.parser import COMMANDS
from tests.cli.bad_inputs import FILE, Bad, bad_inputs
from tests.cli.command import run

INPUTS = list(bad_inputs())
#: Exactly this, and nothing else, on standard error.
HOUSE_FORM = re.compile(r"error: (?P<error>[^\n]+)\n\nhint: (?P<hint>[^\n]+)\n")
#: What a message may take, even of a value of ten thousand characters.
LONGEST = 500


#: What the command listens to.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the command is run: files that are somebody's."""
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "a-link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    kept = {number: signal.getsignal(number) for number in STOPS}
    yield tmp_path
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.fault("C13")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("bad", INPUTS, ids=[bad.name for bad in INPUTS])
def test_a_bad_input_is_refused_with_its_sentence_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], bad: Bad
) -> None:
    if bad.file is not None:
        name = next(word for word in bad.line if word.rpartition("=")[2].startswith(FILE))
        (folder / name.rpartition("=")[2]).write_bytes(bad.file)
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    code = main(bad.line)
    said = capsys.readouterr()
    assert bad.message.fullmatch(said.err), said.err
    assert code == bad.code
    assert said.out == ""
    assert HOUSE_FORM.fullmatch(said.err)
    assert len(said.err) < 2 * LONGEST
    assert said.err.replace("\n", "").isprintable()
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_every_section_of_the_specification_has_its_inputs() -> None:
    """§6.1 sizes, §6.2 every kind of value, §6.3 search spaces, §6.4 recipes, and other files."""
    found: dict[str, int] = {}
    for bad in INPUTS:
        section = bad.name.partition(":")[0]
        found[section] = found.get(section, 0) + 1
    assert len(INPUTS) > 700
    assert {section for section, count in found.items() if count >= 40} == {
        *("sizes", "numbers", "names", "models", "outputs", "lines"),
        *("spaces", "recipes", "recorded"),
    }
    commands = {bad.line[0] for bad in INPUTS if bad.line}
    assert commands >= {*COMMANDS} - {"probe", "doctor"}  # which are given nothing


def test_a_name_of_half_a_character_is_refused_wherever_it_is_given(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Python makes of bytes that are no text; JSON cannot hold it."""
    odd = os.fsdecode(b"\xff\xfe")
    for option in ("model", "vram", "time", "prompt", "device", "set", "space", "runs", "ram"):
        usual = {"model": "demo", "vram": "1GB", "device": "cpu"}
        line = [f"--{name}={value}" for name, value in {**usual, option: odd}.items()]
        code = main(["suggest", *line])
        said = capsys.readouterr()
        assert code == 2, option
        assert HOUSE_FORM.fullmatch(said.err), said.err
        assert said.err.isascii()
    assert sorted(path.name for path in folder.iterdir()) == ["a-file", "a-folder", "a-link"]


@pytest.mark.fault("C13")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a-folder").chmod(0o500)
    assert main(["suggest", "--model=demo", "--runs=a-folder"]) == 2
    assert "permission" in capsys.readouterr().err.lower()


@pytest.mark.trials
def test_a_choice_that_the_model_cannot_take_is_refused_once_it_is_known(tmp_path: Path) -> None:
    """Only torch can say it, and then nothing of the study is left."""
    line = ["suggest", "--model=demo", "--device=cpu", "--vram=1GB"]
    ended = run(*line, "--set=attention-slicing=max", folder=tmp_path)
    assert ended.code == 2
    assert HOUSE_FORM.fullmatch(ended.err), ended.err
    assert ended.err.startswith("error: attention-slicing=max cannot be set here: Flux")
    assert list((tmp_path / "autotune-runs").iterdir()) == []


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_COLOR": "1", "COLUMNS": "0"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""},
        {"PYTHONOPTIMIZE": "2"},
        {"TMPDIR": "/proc"},
        {"AUTOTUNE_CACHE": "/dev/null/x", "AUTOTUNE_LOCKS": "/dev/null/x"},
        {"TERM": "nonsense", "HOME": "/nonexistent"},
    ],
    ids=lambda variables: " ".join(variables),
)
def test_a_strange_environment_changes_nothing(folder: Path, variables: dict[str, str]) -> None:
    ended = run("explain", "a-file", folder=folder, env=variables)
    assert ended.code == 2
    assert ended.err == (
        "error: 'a-file' is not an autotune recipe but plain text\n\n"
        "hint: a recipe is the JSON file that `autotune suggest` writes\n"
    )


def test_a_variable_that_is_nearly_one_of_ours_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_CAHCE", str(folder))
    monkeypatch.setenv("AUTOTUNE_OF_A_LEVER_OF_SOMEBODY_ELSE", "1")
    assert main(["explain", "a-file"]) == 2
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == "note: AUTOTUNE_CAHCE means nothing here: did you mean AUTOTUNE_CACHE?"
