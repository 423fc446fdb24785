"""channels-last and the VAEs of video models, which the contract's tiny pipelines do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune.levers import load_levers
from autotune.records import Model, Workload
from tests.trial.bench import CPU, SMALL, tiny_model


@dataclass(frozen=True)
class View:
    """A model whose VAE is another one."""

    vae: Any
    record: Model
    workload: Workload = SMALL

    def module(self, component: str) -> Any:
        return self.vae


def test_a_vae_with_convolutions_over_time_cannot_be_laid_out_so() -> None:
    import diffusers
    import torch

    with torch.device("meta"):
        vae = diffusers.AutoencoderKLWan(
            base_dim=8, z_dim=4, dim_mult=[1, 2], temperal_downsample=[True]
        )
    # It has two-dimensional ones too, which is what makes it a trap.
    assert {weight.dim() for weight in vae.parameters()} >= {4, 5}
    found = load_levers()["channels-last"].choices(CPU, View(vae, tiny_model("flux")))
    reasons = {choice.id: choice.unavailable for choice in found}
    assert reasons["off"] is None
    assert reasons["vae"] == "AutoencoderKLWan has three-dimensional convolutions"
    assert reasons["denoiser+vae"] == reasons["denoiser"] == reasons["vae"]


def test_a_pipeline_without_a_vae_says_so() -> None:
    found = load_levers()["channels-last"].choices(CPU, View(None, tiny_model("flux")))
    assert {choice.id: choice.unavailable for choice in found}["vae"] == "the pipeline has no vae"
