"""The classic setups of this field on a card: the halves that a CPU cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.status import Status

pytestmark = [pytest.mark.gpu, pytest.mark.trials]

SETUPS = {
    "sequential offload": {"offload": "sequential"},
    "model offload": {"offload": "model"},
    "group offload by block": {"offload": "group-block"},
    "group offload by leaf, streamed": {"offload": "group-leaf-stream"},
    "half of the blocks resident": {"offload": "partial-50"},
    "staged": {"offload": "staged"},
    "bitsandbytes 4-bit denoiser": {"quantize-denoiser": "bnb-nf4"},
    "bitsandbytes 4-bit everywhere": {
        "quantize-denoiser": "bnb-nf4",
        "quantize-text-encoder": "bnb-nf4",
    },
    "compile after quantization": {"quantize-denoiser": "bnb-nf4", "compile": "full"},
    "compile, quantization and offload": {
        "quantize-denoiser": "bnb-nf4",
        "compile": "regional",
        "offload": "group-leaf",
    },
    "compile, quantization and model offload": {
        "quantize-denoiser": "bnb-nf4",
        "compile": "full",
        "offload": "model",
    },
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", ["demo", "wan"])
def test_a_classic_setup_runs_for_images_and_for_videos(
    offered, tried, name: str, setup: str, tmp_path: Path
) -> None:
    choices = offered(name)
    baseline = {choice.lever: choice.id for choice in choices if choice.baseline}
    outcome = tried(name, baseline | SETUPS[setup], tmp_path / "trial")
    assert outcome.status is Status.MEASURED, outcome.message
    for lever in SETUPS[setup]:
        assert outcome.engaged[lever].engaged, outcome.engaged[lever].detail


def test_xformers_on_a_unet(offered, tried, tmp_path: Path) -> None:
    baseline = {choice.lever: choice.id for choice in offered("sd15") if choice.baseline}
    outcome = tried("sd15", baseline | {"attention": "xformers"}, tmp_path / "trial")
    assert outcome.status is Status.MEASURED, outcome.message
