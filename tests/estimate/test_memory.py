"""Peaks foreseen for published set-ups, against what was published; the law of a card."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.memory import (
    ACTIVATIONS,
    BESIDE,
    KEPT,
    MemoryEstimate,
    estimate_memory,
)
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import Block, Profile, Tensors, Weights
from autotune.estimate.trace import profile_of
from autotune.models.catalog import find
from autotune.models.published import planned_model
from autotune.models.structure import Structure
from autotune.records import Device, Model
from autotune.trial.generate import caller

GB, GIB = 1e9, 1 << 30
CARD = device_of(find_card("RTX 4090"))


def counted(name: str) -> tuple[Model, Profile]:
    import torch

    torch.set_num_threads(1)
    entry = find(name)
    assert entry is not None
    model = planned_model(entry)
    profile = profile_of(model, Structure(model, model.workload), CARD, caller)
    assert profile.uncounted is None
    return model, profile


@pytest.fixture(scope="module")
def flux() -> tuple[Model, Profile]:
    return counted("flux")


def foreseen(
    model_and_profile: tuple[Model, Profile], choices: Mapping[str, str]
) -> MemoryEstimate:
    model, profile = model_and_profile
    return estimate_memory(profile, plan_of(model, CARD, choices))


NF4 = {"quantize-denoiser": "bnb-nf4", "quantize-text-encoder": "bnb-nf4"}


@pytest.fixture
def flux_of_then(flux: tuple[Model, Profile]) -> tuple[Model, Profile]:
    """Flux as transformers 4 quantized it: T5's wo was packed too, which transformers 5 spares."""
    model, profile = flux

    def packed(rows: tuple[Tensors, ...]) -> tuple[Tensors, ...]:
        return tuple(row.but(whole=()) if row.kind == "linear" else row for row in rows)

    t5 = profile.components["text_encoder_2"]
    blocks = tuple(
        Block(name=one.name, count=one.count, tensors=packed(one.tensors)) for one in t5.blocks
    )
    whole = Weights(
        class_name=t5.class_name, library=t5.library, blocks=blocks, rest=packed(t5.rest)
    )
    return model, profile.but(components={**profile.components, "text_encoder_2": whole})


@pytest.mark.parametrize(("offload", "published"), [("none", 14.945), ("model", 12.237)])
def test_the_nf4_table_of_the_documentation(
    flux_of_then: tuple[Model, Profile], offload: str, published: float
) -> None:
    # numbers.md B1: the allocated peak of Flux on a 4090, transformer and T5 in NF4.
    found = foreseen(flux_of_then, {**NF4, "offload": offload})
    assert found.allocated_bytes / GB == pytest.approx(published, rel=0.10)


@pytest.mark.parametrize(
    ("choices", "published_gib"),
    [
        # numbers.md B3: reserved GiB on an H100, 50 steps.
        ({}, 36.166),
        ({"offload": "model"}, 23.271),
        ({"quantize-denoiser": "torchao-int8wo", "quantize-text-encoder": "torchao-int8wo"}, 21.5),
    ],
)
def test_the_peaks_of_the_quantization_blog(
    flux: tuple[Model, Profile], choices: Mapping[str, str], published_gib: float
) -> None:
    found = foreseen(flux, choices)
    assert found.peak_bytes / GIB == pytest.approx(published_gib, rel=0.10)
    assert found.peak_bytes / GIB >= published_gib * 0.95


def test_leaf_by_leaf_a_forward_takes_half_a_gigabyte(flux: tuple[Model, Profile]) -> None:
    # numbers.md B2: the denoiser alone, 0.53 to 0.56 GB.
    found = foreseen(flux, {"offload": "group-leaf-stream"})
    denoise = next(phase for phase in found.phases if phase.name == "denoise")
    taken = denoise.bytes["transformer"] + denoise.bytes[ACTIVATIONS]
    assert 0.45 < taken / GB < 0.8


def test_what_binds_is_the_phase_and_the_part_that_takes_most(flux: tuple[Model, Profile]) -> None:
    found = foreseen(flux, {})
    assert (found.binds.name, found.binds.largest) == ("decode", "transformer")
    tiled = foreseen(flux, {"offload": "staged", "vae-tiling": "quarter"})
    assert (tiled.binds.name, tiled.binds.largest) == ("denoise", "transformer")
    streamed = foreseen(flux, {"offload": "group-leaf-stream"})
    assert (streamed.binds.name, streamed.binds.largest) == ("decode", ACTIVATIONS)


def test_every_memory_lever_takes_something_off(flux: tuple[Model, Profile]) -> None:
    own = foreseen(flux, {}).peak_bytes
    for choices in (
        {"vae-tiling": "half"},
        {"quantize-denoiser": "torchao-int8wo"},
        {"layerwise-casting": "fp8-e4m3"},
        {"text-encoders": "host"},
        {"offload": "staged"},
        {"offload": "partial-50"},
    ):
        assert foreseen(flux, choices).peak_bytes < own * 0.95, choices


def test_caches_keep_what_they_keep_until_the_picture_is_decoded(
    flux: tuple[Model, Profile],
) -> None:
    found = foreseen(flux, {"cache": "taylorseer-3"})
    # Two orders of 57 blocks' outputs, 28 MB each.
    kept = {phase.name: phase.bytes.get(KEPT, 0) for phase in found.phases}
    assert kept["load"] == kept["encode"] == 0
    assert kept["denoise"] == kept["decode"] == pytest.approx(3.2 * GB, rel=0.05)


def test_bitsandbytes_packs_on_the_card_whatever_is_offloaded_later(
    flux: tuple[Model, Profile],
) -> None:
    found = foreseen(flux, {**NF4, "offload": "staged", "vae-tiling": "quarter"})
    load = next(phase for phase in found.phases if phase.name == "load")
    assert load.bytes["transformer"] + load.bytes["text_encoder_2"] > 10 * GB
    torchao = foreseen(flux, {"quantize-denoiser": "torchao-int8wo", "offload": "staged"})
    assert "transformer" not in torchao.phases[0].bytes


def test_an_fp16_vae_that_overflows_is_foreseen_in_fp32() -> None:
    sdxl = counted("sdxl")
    assert sdxl[1].upcast == ("vae",)
    half, brain = (foreseen(sdxl, {"dtype": dtype}) for dtype in ("fp16", "bf16"))
    assert half.phases[-1].bytes["vae"] == 2 * brain.phases[-1].bytes["vae"]
    assert half.peak_bytes > 1.3 * brain.peak_bytes


def test_a_thousand_estimates_are_arithmetic(flux: tuple[Model, Profile]) -> None:
    # No timed assertion: what is held is that nothing is imported or run for them.
    import sys

    before = set(sys.modules)
    found = {
        foreseen(flux, {"offload": offload, "vae-tiling": tiling, "batch": batch}).peak_bytes
        for offload in ("none", "model", "staged", "partial-50")
        for tiling in ("off", "half", "quarter")
        for batch in ("as-asked", "x2", "x4", "x8")
    }
    assert set(sys.modules) == before
    assert len(found) > 20


def test_the_compiler_takes_memory_of_the_host_and_none_of_the_card(
    flux: tuple[Model, Profile],
) -> None:
    model, profile = flux
    host = CARD.but(kind="cpu", uuid="cpu", name="a CPU", compute_capability=None)

    def beside(device: Device, choices: Mapping[str, str]) -> int:
        phase = estimate_memory(profile, plan_of(model, device, choices)).phases[0]
        return phase.bytes.get(BESIDE, 0)

    for device, megabytes in ((host, 48), (CARD, 0)):
        taken = beside(device, {"compile": "regional"}) - beside(device, {})
        assert taken == megabytes * 10**6
