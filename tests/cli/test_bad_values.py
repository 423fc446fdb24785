"""Every bad value: exit status 2, one sentence and one hint, before anything is made."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cli.command import run

#: Exactly this, and nothing else, on standard error.
HOUSE_FORM = re.compile(r"error: (?P<error>[^\n]+)\n\nhint: (?P<hint>[^\n]+)\n")

#: Sizes and durations have their own table in the tests of units: here is one of each kind.
VALUES = {
    "vram": [
        "", "12", "12e9", "12G", "-1GB", "0GB", "1KiB", "999TB", "nan", "１２GB", "12,5GB",
        "1\n2GB", "9" * 10_000, "101%", "free-999TB",
    ],
    "time": ["", "10", "0s", "-5m", "forever", "1e9h"],
    "trials": ["", "0", "-1", "1.5", "٣", "10000000000"],
    "seed": ["-1", "x"],
    "model": ["", "../x", "/etc/passwd", "~root", "$(x)", "-x", "x" * 5000, "demo\nx", "./"],
    "height": ["0", "-8", "511", "1000000"],
    "width": ["24"],
    "steps": ["0", "1001"],
    "batch": ["257"],
    "frames": ["5"],
    "prompt": ["", "x" * 5000],
    "device": ["cuda:99", "-1", "gpu", ""],
    "set": ["", "dtype", "atention=native", "attention=nativ"],
    "checkpoint": [
        "", "vae", "=a-file", "denoiser=", "denoiser=a-file", "denoiser=a-folder",
        "x=nowhere.gguf",
    ],
    "objective": ["", "fast", "First", "total", "total:0", "total:1e3", "total:1000000"],
    "effort": ["", "none", "Quick", "hard"],
    "weights": ["", "none", "Random", "real,random"],
    "space": ["nonsense", "missing.toml", "", "/etc/passwd"],
    "runs": ["a-file", "a-file/below"],
    "out": ["a-file", "a-folder", "missing/recipe.json", "a-link", "/dev/full", ""],
    "engine": ["spaceship"],
}  # fmt: skip
CASES = [(option, value) for option, values in VALUES.items() for value in values]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a-file").write_text("mine")
    (tmp_path / "a-folder").mkdir()
    (tmp_path / "a-link").symlink_to(tmp_path / "elsewhere")
    return tmp_path


def refused(folder: Path, *arguments: str | bytes) -> re.Match[str]:
    """Run, and check everything that holds for any refusal."""
    before = sorted(folder.rglob("*"))
    ended = run(*arguments, folder=folder)
    assert ended.code == 2, ended.err
    assert ended.out == ""
    said = HOUSE_FORM.fullmatch(ended.err)
    assert said is not None, ended.err
    assert len(said["error"]) < 500
    assert sorted(folder.rglob("*")) == before
    assert (folder / "a-file").read_text() == "mine"
    return said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        pytest.param(*case, marks=pytest.mark.fault("C13") if case[0] in ("out", "runs") else ())
        for case in CASES
    ],
    ids=[f"{option}={ascii(value)[:30]}" for option, value in CASES],
)
def test_a_bad_value_is_refused_in_the_house_form_and_leaves_nothing(
    folder: Path, option: str, value: str
) -> None:
    usual = {"model": "demo", "vram": "1GB"}
    arguments = [f"--{name}={text}" for name, text in {**usual, option: value}.items()]
    said = refused(folder, "suggest", *arguments)
    assert "Traceback" not in said[0]


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "required: COMMAND", "autotune --help"),
        (["sugest"], "invalid choice: 'sugest'", "autotune --help"),
        (["--frobnicate"], "required: COMMAND", "autotune --help"),
        (["suggest"], "required: --model", "autotune suggest --help"),
        (["suggest", "--model"], "expected one argument", "autotune suggest --help"),
        (["suggest", "--model", "demo", "--vram", "-1GB"], "expected one", "suggest --help"),
        (["suggest", "--model", "demo", "--trial", "3"], "unrecognized", "--help"),
        (["suggest", "--model", "demo", "--x\ny", "3"], "unrecognized arguments: --x y", "--help"),
        (["suggest", "--model", "demo", "extra"], "unrecognized arguments: extra", "--help"),
        (["explain"], "required: recipe", "autotune explain --help"),
        (["explain", "missing.json"], "no such file", "check the path"),
        (["explain", "a-folder"], "it is a folder", "name a regular file"),
        (["explain", "a-file"], "not an autotune recipe but plain text", "autotune suggest"),
        (["explain", "/dev/zero"], "it is a device", "name a regular file"),
        (["skeleton", "flx", "new"], "there is no model 'flx'", "did you mean flux"),
        (["skeleton", "demo", "new"], "what 'demo' is made of is not known", "known: flux"),
        (["skeleton", "sd15", "a-file"], "'a-file' is there and is no skeleton", "a new folder"),
        (["skeleton", "sd15", "new", "--scale=0"], "there is no scale '0'", "full or tiny"),
        (["suggest", "--model=./x", "--weights=random"], "there is no model folder", ""),
        (["levers", "--device", "cuda:99"], "no device 'cuda:99'", "available: cpu"),
        (["levers", "--model", "../x"], "../x", ""),
    ],
)
def test_a_bad_command_line_is_refused_in_the_house_form(
    folder: Path, arguments: list[str], error: str, hint: str
) -> None:
    said = refused(folder, *arguments)
    assert error in said["error"]
    assert hint in said["hint"]


def test_a_lever_set_twice_is_refused_with_both_values(folder: Path) -> None:
    said = refused(
        folder, "suggest", "--model", "demo", "--set", "dtype=fp32", "--set", "dtype=bf16"
    )
    assert said["error"] == "'dtype' is set twice, to 'fp32' and to 'bf16'"


def test_a_choice_that_the_model_cannot_take_is_refused_once_it_is_known(folder: Path) -> None:
    said = refused(
        folder, "suggest", "--model=demo", "--set=attention-slicing=max", "--runs=a-folder"
    )
    assert said["error"].startswith("attention-slicing=max cannot be set here: Flux")


def test_a_prompt_that_is_not_text_is_refused(folder: Path) -> None:
    said = refused(folder, b"suggest", b"--model", b"demo", b"--prompt", b"\xff\xfe")
    assert "not valid Unicode" in said["error"]


@pytest.mark.fault("C13")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(folder: Path) -> None:
    (folder / "a-folder").chmod(0o500)
    assert "permission" in refused(folder, "suggest", "--model=demo", "--runs=a-folder")[0].lower()


@pytest.mark.parametrize(("model", "code"), [("nobody/nothing", 3), ("no-such-alias", 2)])
def test_a_name_the_hub_may_know_is_told_apart_from_one_nobody_knows(
    tmp_path: Path, model: str, code: int
) -> None:
    ended = run("suggest", "--model", model, folder=tmp_path)
    assert ended.code == code
    assert HOUSE_FORM.fullmatch(ended.err)
    assert list(tmp_path.iterdir()) == []
