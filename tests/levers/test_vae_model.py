"""vae-model with a random tiny VAE: every pipeline whose latents it knows, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.levers import vae_model
from autotune.levers.base import Target
from autotune.models.structure import Structure
from autotune.records import Component, Fidelity, Model
from autotune.status import Status
from autotune.trial import generate
from autotune.trial.run import run_trial
from tests.checkpoints import with_checkpoints, write_tiny_vae
from tests.contract.row import MEDIUM
from tests.levers.built import planned
from tests.trial.bench import CPU, SMALL, tiny_model, trial_spec

pytestmark = pytest.mark.trials

#: The tiny pipelines with an AutoencoderKL, and the channels of its latents.
CHANNELS = {"sd15": 4, "sdxl": 4, "sd3": 16, "pixart": 4, "flux": 4}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def tiny_vae(files: Path) -> Path:
    return write_tiny_vae(files / "tiny-vae")


def with_tiny_vae(pipeline: str, folder: Path) -> Model:
    return with_checkpoints(tiny_model(pipeline), vae=folder)


def reason(model: Model) -> str | None:
    found = vae_model.choices(CPU, Structure(model, model.workload))
    return {one.id: one.unavailable for one in found}["tiny"]


@pytest.mark.parametrize("pipeline", CHANNELS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_tiny_vae_decodes_for_every_pipeline_with_its_latents(
    pipeline: str, dtype: str, files: Path, tmp_path: Path
) -> None:
    channels = CHANNELS[pipeline]
    folder = write_tiny_vae(files / f"tiny-vae-{channels}", latent_channels=channels)
    model = with_tiny_vae(pipeline, folder)
    assert reason(model) is None
    spec = trial_spec(model=pipeline).but(
        model=model, choices={"dtype": dtype, "vae-model": "tiny"}
    )
    outcome = run_trial(spec, tmp_path)
    assert outcome.status is Status.MEASURED, outcome.message
    assert outcome.engaged["vae-model"].detail == "the VAE is of class AutoencoderTiny"
    assert outcome.engaged["dtype"].engaged
    (given,) = model.given
    assert given.weight_bytes <= outcome.weights["vae"] <= 2 * given.weight_bytes


def test_the_class_of_the_vae_is_the_evidence(tiny_vae: Path) -> None:
    target = Target(model=with_tiny_vae("flux", tiny_vae), device=CPU, workload=SMALL)
    generate.build_pipeline(target, {"vae-model": "tiny"})
    assert vae_model.engaged(target, "tiny").engaged
    assert not vae_model.engaged(target, "own").engaged
    generate.build_pipeline(target := Target(model=target.model, device=CPU, workload=SMALL), {})
    assert vae_model.engaged(target, "own").engaged
    assert not vae_model.engaged(target, "tiny").engaged


def test_a_tiny_vae_takes_its_own_bytes_and_changes_pictures(tiny_vae: Path) -> None:
    model = with_tiny_vae("flux", tiny_vae)
    own, tiny = planned(model), planned(model, vae_model="tiny")
    assert planned(model, vae_model="own") == own
    assert tiny == own.with_parts(["vae"], file_bytes=model.given[0].weight_bytes)
    assert own.parts["vae"].file_bytes is None
    assert {one.fidelity for one in vae_model.choices(CPU, None)} == {
        Fidelity.EXACT,
        Fidelity.ANY,
    }


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("flux", "no tiny VAE was given (--checkpoint vae=FOLDER)"),
        ("wan", "latents of AutoencoderKL, not those of AutoencoderKLWan"),
        ("sana", "latents of AutoencoderKL, not those of AutoencoderDC"),
    ],
)
def test_what_stands_in_the_way_is_said(pipeline: str, said: str) -> None:
    assert said in (reason(tiny_model(pipeline)) or "")


def test_a_model_without_a_vae_or_with_a_tiny_one_says_so() -> None:
    model = tiny_model("flux")
    others = tuple(part for part in model.components if part.name != "vae")
    tiny = Component(name="vae", library="diffusers", class_name="AutoencoderTiny")
    assert reason(model.but(components=others)) == "the pipeline has no VAE"
    assert reason(model.but(components=(*others, tiny))) == (
        "the model's own VAE is a tiny one already"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent_channels": 16}, "has 16 latent channels, the VAE of flux has 4"),
        ({"blocks": 3}, "has 4 pixels a latent pixel, the VAE of flux has 8"),
    ],
)
def test_a_tiny_vae_of_other_latents_is_refused_with_both_numbers(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = write_tiny_vae(tmp_path / "other", **changes)
    with pytest.raises(BadInput, match=said):
        with_tiny_vae("flux", folder)


def test_a_tiny_vae_for_other_latents_than_its_own_is_refused(tiny_vae: Path) -> None:
    with pytest.raises(BadInput, match="the VAE of wan is of class AutoencoderKLWan"):
        with_tiny_vae("wan", tiny_vae)


# -------------------------------------------------------------------------------- other levers


@pytest.mark.parametrize(
    "choices",
    [
        {"vae-tiling": "half"},
        {"vae-slicing": "on"},
        {"channels-last": "vae"},
        {"vae-dtype": "bf16"},
        {"vae-dtype": "fp32", "dtype": "bf16"},
        {"vae-tiling": "half", "vae-dtype": "bf16"},
    ],
    ids=str,
)
@pytest.mark.parametrize("pipeline", ["flux", "sd15"])
def test_what_can_be_set_on_a_vae_can_be_set_on_a_tiny_one(
    pipeline: str, choices: dict[str, str], tiny_vae: Path, tmp_path: Path
) -> None:
    model = with_tiny_vae(pipeline, tiny_vae).but(workload=MEDIUM)
    spec = trial_spec(model=pipeline).but(
        model=model, workload=MEDIUM, choices={"dtype": "fp32", "vae-model": "tiny"} | choices
    )
    outcome = run_trial(spec, tmp_path)
    assert outcome.status is Status.MEASURED, outcome.message
