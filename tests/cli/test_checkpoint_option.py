"""`--checkpoint`: a file on the command line, from the list of levers to a recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.checkpoints import write_gguf
from tests.cli.command import run
from tests.tiny import tiny_flux

pytestmark = pytest.mark.trials


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_flux(tmp_path_factory.mktemp("models") / "flux")
    write_gguf(folder.parent / "eight.gguf", folder / "transformer", "Q8_0")
    return folder


def test_levers_says_what_a_file_makes_possible(flux: Path, tmp_path: Path) -> None:
    given = f"denoiser={flux.parent / 'eight.gguf'}"
    ended = run(
        *("levers", "--model", str(flux), "--device", "cpu", "--json", "--checkpoint", given),
        folder=tmp_path,
    )
    reasons = {
        one["id"]: one["unavailable"] for one in ended.answer if one["lever"] == "checkpoint"
    }
    assert reasons["own"] is reasons["gguf"] is None
    assert "--checkpoint denoiser=FILE.safetensors" in reasons["bfl"]


def test_levers_without_a_model_takes_no_file(tmp_path: Path) -> None:
    ended = run("levers", "--checkpoint", "denoiser=x.gguf", folder=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    assert re.fullmatch(r"error: --checkpoint is for [^\n]+\n\nhint: [^\n]+\n", ended.err)


def test_suggest_tries_a_file_in_processes_of_their_own(flux: Path, tmp_path: Path) -> None:
    ended = run(
        *("suggest", "--model", str(flux), "--device", "cpu", "--vram", "2GB", "--json"),
        *("--height", "64", "--width", "64", "--steps", "1", "--trials", "1", "--quiet"),
        *("--effort", "quick"),
        *("--set", "checkpoint=gguf", "--set", "dtype=bf16"),
        *("--checkpoint", f"transformer={flux.parent / 'eight.gguf'}"),
        folder=tmp_path,
    )
    assert ended.code == 0, ended.err
    assert ended.answer["choices"]["checkpoint"] == "gguf"
    recipe = (tmp_path / ended.answer["recipe"]).read_text()
    assert '"kind": "gguf"' in recipe
    assert str(flux.parent) not in recipe
