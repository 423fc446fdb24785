"""`autotune skeleton` as a user types it, and a study of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import run

pytestmark = pytest.mark.trials


def test_what_it_writes_is_tuned_like_any_model(tmp_path: Path) -> None:
    made = run("skeleton", "sd15", "small", "--scale", "tiny", folder=tmp_path)
    assert made.code == 0, made.err
    assert made.out.splitlines()[-1] == "next: autotune suggest --model ./small"
    assert "unet: diffusion_pytorch_model.safetensors" in made.err

    again = run("skeleton", "sd15", "small", "--scale", "tiny", "--json", folder=tmp_path)
    assert again.err == "", "all was there"
    assert again.answer["bytes"] > 1_000_000

    line = ["suggest", "--model", "./small", "--device", "cpu", "--vram", "1GB", "--trials", "1"]
    size = ["--height", "64", "--width", "64", "--steps", "2", "--effort", "quick"]
    ended = run(*line, *size, "--json", folder=tmp_path)
    assert ended.code == 0, ended.err
    recipe = json.loads((tmp_path / ended.answer["recipe"]).read_text())
    assert recipe["model"]["weights"] == "random"
    assert recipe["evidence"]["quality"]["fidelity"] == "not assessed"


def test_an_unknown_scale_is_refused(tmp_path: Path) -> None:
    ended = run("skeleton", "sd15", "small", "--scale", "half", folder=tmp_path)
    assert ended.code == 2
    assert ended.err == "error: there is no scale 'half'\n\nhint: --scale full or tiny\n"
    assert list(tmp_path.iterdir()) == []
