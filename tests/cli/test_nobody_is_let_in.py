"""A study keeps secrets, runs in hostile folders, and what it leaves is its user's alone."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autotune.cli import main
from autotune.recipe.read import read_recipe
from tests.cli.command import Ended, command, environment
from tests.recipe.factory import make_document, sign

#: What would be executed if a path ever reached a shell, and breaks whatever quotes in haste.
HOSTILE = "a b'c\"d; touch pwned; $(touch pwned) `touch pwned` & -é\n*?"
#: Each place that a token may be in has its own, so that a leak says where it came from.
CANARIES = {
    "HF_TOKEN": "hf_canaryHfTokenVariable0000000",
    "HUGGING_FACE_HUB_TOKEN": "hf_canaryOldVariable00000000000",
    "AWS_SECRET_ACCESS_KEY": "canary-aws-00000000000000000000",
    "HTTPS_PROXY": "http://ann:canary-proxy-password@127.0.0.1:9",
    "HF_ENDPOINT": "http://ann:canary-endpoint-password@127.0.0.1:9",
}
IN_FILE = "hf_canaryTokenFile000000000000000"
#: Every Python process writes what it was started with, and what it is told.
WITNESS = """
import json, os, sys
folder = os.environ.get("AUTOTUNE_WITNESS")
if folder:
    with open(os.path.join(folder, f"{os.getpid()}.json"), "w") as file:
        json.dump({"line": sys.orig_argv, "environment": dict(os.environ)}, file)
"""


@dataclass(frozen=True, kw_only=True)
class Studied:
    """A study in a hostile folder, and what was seen of its processes."""

    ended: Ended
    top: Path
    home: Path
    witnesses: tuple[dict[str, object], ...]

    @property
    def run_folder(self) -> Path:
        (found,) = (self.top / HOSTILE / f"runs {HOSTILE}").iterdir()
        return found


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    top = tmp_path_factory.mktemp("study")
    home, seen, code = top / "home", top / "seen", top / "code"
    for folder in (home / ".cache/huggingface", seen, code, top / HOSTILE):
        folder.mkdir(parents=True)
    (home / ".cache/huggingface/token").write_text(IN_FILE)
    (code / "sitecustomize.py").write_text(WITNESS)
    told = {"HOME": str(home), "AUTOTUNE_WITNESS": str(seen), "PYTHONPATH": str(code), **CANARIES}
    line = ["suggest", "--model=demo", "--device=cpu", "--vram=1GB", "--trials=1", "--time=100s"]
    line += ["--effort=quick", "--json", f"--runs=runs {HOSTILE}", f"--out=-{HOSTILE}.json"]
    line += [f"--record=--{HOSTILE}.jsonl"]
    done = subprocess.run(
        command(*line),
        cwd=top / HOSTILE,
        env=environment(**told),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        umask=0o022,
        timeout=200,
        check=False,
    )
    return Studied(
        ended=Ended(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode()),
        top=top,
        home=home,
        witnesses=tuple(json.loads(path.read_bytes()) for path in seen.iterdir()),
    )


@pytest.mark.trials
def test_a_study_ends_well_in_a_hostile_folder_and_runs_nothing_of_its_name(
    studied: Studied,
) -> None:
    assert studied.ended.code == 0, studied.ended.err
    folder = studied.top / HOSTILE
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [f"runs {HOSTILE}", f"-{HOSTILE}.json", f"--{HOSTILE}.jsonl"]
    )
    assert list(studied.top.rglob("pwned")) == []
    assert studied.ended.answer["recipe"] == f"-{HOSTILE}.json"


@pytest.mark.trials
def test_no_token_is_in_anything_that_a_study_says_or_leaves(studied: Studied) -> None:
    canaries = [*(value.encode() for value in CANARIES.values()), IN_FILE.encode(), b"canary"]
    said = studied.ended.out + studied.ended.err
    assert "canary" not in said
    token_file = studied.home / ".cache/huggingface/token"
    left = [path for path in (studied.top / HOSTILE).rglob("*") if path.is_file()]
    left += [path for path in studied.home.rglob("*") if path.is_file() and path != token_file]
    left += [path for path in Path(os.environ["AUTOTUNE_CACHE"]).rglob("*") if path.is_file()]
    # Recipe, recorded space, study, requests, outcomes, logs, pictures.
    names = {path.name for path in left}
    assert {"study.json", "spec.json", "outcome.json", "log.txt", "zygote.txt"} <= names
    for path in left:
        data = path.read_bytes()
        assert [one for one in canaries if one in data] == [], path


@pytest.mark.trials
def test_no_token_is_in_the_command_line_or_environment_of_what_a_study_starts(
    studied: Studied,
) -> None:
    caller, *started = sorted(studied.witnesses, key=lambda one: "suggest" not in str(one["line"]))
    assert "canary" in json.dumps(caller["environment"])
    assert any("autotune.trial.zygote" in str(one["line"]) for one in started)
    for one in studied.witnesses:
        assert "canary" not in json.dumps(one["line"])
    for one in started:
        assert "canary" not in json.dumps(one["environment"]), one["line"]


@pytest.mark.trials
def test_the_recipe_names_no_path_no_user_and_no_host(studied: Studied) -> None:
    """R6, of a recipe that a study has written."""
    text = (studied.top / HOSTILE / f"-{HOSTILE}.json").read_text(encoding="utf-8")
    names = {str(studied.top), studied.top.name, str(studied.home), "pwned", sys.prefix}
    names |= {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 4}
    assert [name for name in names if name in text] == []
    assert read_recipe(studied.top / HOSTILE / f"-{HOSTILE}.json").model.source == "demo"


@pytest.mark.trials
def test_the_folder_of_a_study_is_its_users_alone(studied: Studied) -> None:
    open_to_others = {
        str(path.relative_to(studied.run_folder)): oct(mode)
        for path in (studied.run_folder, *studied.run_folder.rglob("*"))
        if (mode := stat.S_IMODE(path.lstat().st_mode)) & 0o077
    }
    assert open_to_others == {}
    # The recipe is made to be shared, and lies where its user said: there the umask decides.
    recipe = studied.top / HOSTILE / f"-{HOSTILE}.json"
    assert stat.S_IMODE(recipe.stat().st_mode) == 0o644


# ------------------------------------------------------------------- hostile paths, other commands


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a hostile name to be in, and the signal handlers as they were."""
    folder = tmp_path / HOSTILE
    folder.mkdir()
    monkeypatch.chdir(folder)
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield folder
    for number, handler in kept.items():
        signal.signal(number, handler)
    assert list(tmp_path.rglob("pwned")) == []


SPACE_HEADER = (
    '{"format": 1, "kind": "space", "model": "m", "device": {}, "workload": {}, '
    '"levers": {"a": ["x"]}, "baseline": {"a": "x"}}'
)
SPACE_ROW = (
    '{"choices": {"a": "x"}, "outcome": "measured", "latency_s": 1.0, "peak_bytes": 1000, '
    '"cost_s": 1.0}'
)


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["explain", "<path>"], 0, ""),
        (["explain", "--json", "--", "<path>"], 0, ""),
        (["verify", "--device=cpu", "--", "<path>"], 1, "the recipe is for demo at 1"),
        (["compare", "--device=cpu", "--", "<path>", "<path>"], 2, "the same"),
        (["replay", "--vram=1GB", "--trials=1", "--seeds=1", "--", "<space>"], 0, ""),
        (["suggest", "--model=demo", "--space=<toml>", "--height=1"], 2, "a height of 1 pixels"),
        (["suggest", "--model=./<folder>"], 2, "holds no model_index.json"),
        (["suggest", "--model=demo", "--checkpoint=vae=<folder>"], 2, "holds no config.json"),
        (["suggest", "--model=demo", "--record=<path>"], 2, "exists"),
        (["suggest", "--model=demo", "--out=<folder>"], 2, "it is a folder"),
        (["suggest", "--model=demo", "--runs=<path>"], 2, "is not a folder"),
        (["estimate", "--model=./<folder>", "--gpu=RTX 4090"], 2, "holds no model_index.json"),
        (["levers", "--model=./<folder>"], 2, "holds no model_index.json"),
        (["skeleton", "--scale=tiny", "--", "sd15", "<path>"], 2, "is there and is no skeleton"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("start", ["", "-", "--out="])
def test_a_hostile_path_is_a_path_to_every_command(
    hostile: Path,
    capsys: pytest.CaptureFixture[str],
    line: list[str],
    code: int,
    says: str,
    start: str,
) -> None:
    name = f"{start}{HOSTILE}"
    paths = {
        "<path>": f"{name}.json",
        "<space>": f"{name}.jsonl",
        "<toml>": f"{name}.toml",
        # Of a model and a checkpoint no name is taken that cannot be printed.
        "<folder>": name.replace("\n", " "),
    }
    (hostile / paths["<path>"]).write_bytes(sign(make_document()))
    (hostile / paths["<space>"]).write_text(f"{SPACE_HEADER}\n{SPACE_ROW}\n")
    (hostile / paths["<toml>"]).write_text('[levers]\ndtype = "all"\n')
    (hostile / paths["<folder>"]).mkdir()
    before = sorted(hostile.rglob("*"))
    words = [line[0]]
    for word in line[1:]:
        for what, path in paths.items():
            word = word.replace(what, path)
        words.append(word)
    if line[1] == "<path>":
        words.insert(1, "--")  # as for any program, if the name begins with a dash
    assert main(words) == code
    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err
    if code:
        assert said.err.count("\n") == 3
    assert sorted(hostile.rglob("*")) == before


@pytest.mark.parametrize(
    "line",
    [
        ["suggest", "--model=https://ann:canary@host/x"],
        ["suggest", "--model=hf_canary00000000000000000"],
        ["suggest", "--model=demo", "--device=hf_canary00000000000000000"],
        ["suggest", "--model=demo", "--space=https://ann:canary@host/x.toml"],
        ["suggest", "--model=demo", "--checkpoint=vae=https://ann:canary@host/x"],
        ["suggest", "--model=demo", "--runs=/dev/null/https://ann:canary@host/x"],
        ["suggest", "--model=demo", "--storage=postgresql://ann:canary@host/x"],
        ["explain", "https://ann:canary@host/x"],
        ["replay", "https://ann:canary@host/x", "--vram=1GB"],
        ["estimate", "--model=https://ann:canary@host/x", "--gpu=RTX 4090"],
    ],
    ids=lambda line: " ".join(line),
)
def test_a_message_never_repeats_a_token_or_a_password(
    hostile: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    assert main(line) == 2
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err
    assert said.err.startswith("error: ")
