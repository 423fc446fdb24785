"""Profiles of published models and of folders: real pipelines whose components have no weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune.estimate.count import Counted, count
from autotune.estimate.profile import Call, Profile, Weights, read_profile, write_profile
from autotune.estimate.trace import _readied, profile_of
from autotune.levers import offered_choices, vae_tiling
from autotune.models.catalog import find
from autotune.models.published import entries_with_parts, planned_model
from autotune.models.structure import Structure
from autotune.records import Device, Model, Workload
from autotune.trial.generate import caller
from tests.trial.bench import CPU, SMALL, fitted, tiny_model

T = 1e12
CARD = Device(
    kind="cuda",
    uuid="GPU-of-tests",
    name="a card",
    total_bytes=24 << 30,
    free_bytes=24 << 30,
    compute_capability="8.9",
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def planned(name: str, **changes: Any) -> Model:
    entry = find(name)
    assert entry is not None
    model = planned_model(entry)
    return model.but(workload=model.workload.but(**changes))


def counted_of(model: Model, structure: Structure | None = None) -> Profile:
    profile = profile_of(model, structure or Structure(model, model.workload), CARD, caller)
    assert profile.uncounted is None
    return profile


@cache
def profile(name: str, **changes: Any) -> Profile:
    return counted_of(planned(name, **changes))


def denoise(found: Profile) -> Call:
    (call,) = found.denoise
    return call


def bytes_of(weights: Weights) -> int:
    rows = [(1, weights.rest), *((block.count, block.tensors) for block in weights.blocks)]
    return sum(n * row.count * prod(row.shape) * 2 for n, rows_ in rows for row in rows_)


def memory_bytes(row: str) -> int:
    """What this process has in memory, VmRSS, or has had since that was last reset, VmHWM."""
    rows = dict(one.split(":") for one in Path("/proc/self/status").read_text().splitlines())
    return int(rows[row].split()[0]) << 10


# -------------------------------------------------------------- the figures of numbers.md, G1


def test_flux_computes_what_was_counted_by_hand() -> None:
    found = profile("flux")
    step = denoise(found)
    assert step.count == 28
    assert step.work.flops == pytest.approx(74.385 * T, rel=0.01)
    assert step.work.attention == pytest.approx(57 * 4 * 4608**2 * 3072, rel=0.001)
    assert found.decode["off"].work.flops == pytest.approx(10.47 * T, rel=0.01)
    assert [(one.component, one.count) for one in found.encode] == [
        ("text_encoder", 1),
        ("text_encoder_2", 1),
    ]


def test_flux_has_as_many_bytes_of_weights_as_its_files() -> None:
    found = profile("flux")
    assert sum(map(bytes_of, found.components.values())) == pytest.approx(33.74e9, rel=0.001)


def test_sdxl_makes_both_halves_of_its_guidance_in_one_call() -> None:
    step = denoise(profile("sdxl"))
    assert step.count == profile("sdxl").workload.steps
    assert step.work.flops == pytest.approx(2 * 6.761 * T, rel=0.01)
    assert step.work.convolution == pytest.approx(2 * 1.623 * T, rel=0.01)


def test_sd15_is_called_once_more_than_it_has_steps() -> None:
    """Its scheduler, PNDM, makes the second one twice."""
    step = denoise(profile("sd15"))
    assert step.count == profile("sd15").workload.steps + 1
    assert step.work.flops == pytest.approx(2 * 0.8033 * T, rel=0.01)


def test_wan_is_called_twice_a_step() -> None:
    step = denoise(profile("wan-14b", height=480, width=832, frames=81, steps=2))
    assert step.count == 4
    assert step.work.flops == pytest.approx(1678.4 * T, rel=0.01)


def test_qwen_image_has_as_many_tokens_as_its_prompt_has_words() -> None:
    found = profile("qwen-image", prompts=(" ".join(["word"] * 128),), steps=2)
    first, *_ = sorted(found.denoise, key=lambda one: -one.work.flops)
    assert sum(one.count for one in found.denoise) == 4
    assert first.work.flops == pytest.approx(70.58 * T, rel=0.01)


# -------------------------------------------------------------------------- every published model


@pytest.mark.parametrize("name", [one.name for one in entries_with_parts()])
def test_every_model_of_the_catalogue_is_counted(name: str) -> None:
    model = planned(name, height=256, width=256, steps=2)
    if model.workload.frames is not None:
        model = model.but(workload=model.workload.but(frames=9))
    found = counted_of(model)
    assert {one.component for one in found.denoise} <= set(model.denoisers)
    calls = sum(one.count for one in found.denoise)
    assert 2 <= calls <= 2 * 2 * 2 + 1, "a step takes one call or two"
    for call in (*found.encode, *found.denoise, *found.decode.values()):
        assert call.work.flops > 0
        assert call.narrow_bytes > 0
        assert call.work.operations > 0
    assert found.encode
    assert found.decode["off"].output_bytes >= 2 * 3 * 256 * 256
    for call in found.denoise:
        assert call.hidden > 0


def test_tokens_that_spread_over_experts_cost_what_they_really_cost() -> None:
    from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU
    from torch.utils.flop_counter import FlopCounterMode

    experts = MOEFeedForwardSwiGLU(64, 128, num_routed_experts=4, num_activated_experts=2).eval()
    tokens = torch.randn(1, 256, 64)
    with FlopCounterMode(display=False) as real, torch.no_grad():
        experts(tokens)
    readied = _readied(copy.deepcopy(experts).to("meta"))
    inputs = torch.empty(1, 256, 64, dtype=torch.bfloat16, device="meta")
    found, _ = count(readied, readied.forward, ((inputs,), {}), {})
    assert found.linear == real.get_total_flops()


# ------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "flux", "wan"])
def test_a_folder_is_counted_as_it_is(name: str, tmp_path: Any) -> None:
    model = tiny_model(name).but(workload=fitted(name, SMALL))
    found = profile_of(model, Structure(model, model.workload), CPU, caller)
    assert found.uncounted is None
    assert sum(one.count for one in found.denoise) in (2, 4)
    write_profile(tmp_path / "profile.json", found)
    assert read_profile(tmp_path / "profile.json") == found


def test_a_batch_is_counted_whole() -> None:
    one = tiny_model("sd15").but(workload=SMALL)
    four = one.but(workload=SMALL.but(batch=4))
    single, several = (
        denoise(profile_of(each, Structure(each, each.workload), CPU, caller))
        for each in (one, four)
    )
    assert several.work.convolution == 4 * single.work.convolution


# ----------------------------------------------------------------------- what is left as it was


class Stubborn(torch.nn.Module):
    """A denoiser in whose forward something wants numbers that nobody has."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        self.config, self.dtype = inner.config, torch.float32

    def forward(self, sample: Any, *_: Any, **__: Any) -> Any:
        return sample.unique()


def test_a_component_that_wants_real_values_leaves_the_weights_and_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tiny_model("sd15").but(workload=SMALL)
    structure = Structure(model, SMALL)
    structure._modules["unet"] = Stubborn(structure.module("unet"))
    found = profile_of(model, structure, CPU, caller)
    assert "unique" in (found.uncounted or "")
    assert "unique" in capsys.readouterr().err
    assert bytes_of(found.components["unet"]) > 0
    assert (found.encode, found.denoise, found.decode) == ((), (), {})


def state_of(module: Any) -> dict[str, Any]:
    """All that is set on a module and its parts."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        own = {key: value for key, value in vars(part).items() if not key.startswith("_")}
        found[name] = sorted((key, str(value)) for key, value in own.items())
        found[f"{name} hooks"] = len(part._forward_hooks)
    found["weights"] = [(one.shape, one.dtype) for one in module.parameters()]
    return found


@pytest.mark.parametrize("name", ["sd15", "flux", "wan"])
def test_counting_leaves_the_modules_as_they_were(name: str) -> None:
    model = tiny_model(name).but(workload=fitted(name, SMALL))
    structure = Structure(model, model.workload)
    modules = {one.name: structure.module(one.name) for one in model.components if one.parameters}
    modules["vae"].enable_tiling()
    before = {part: state_of(module) for part, module in modules.items()}
    profile_of(model, structure, CPU, caller)
    assert {part: state_of(module) for part, module in modules.items()} == before
    assert "decode" not in vars(modules["vae"])


@pytest.mark.parametrize("name", ["sd15", "flux", "wan"])
def test_it_does_not_matter_whether_the_levers_were_asked_before(name: str) -> None:
    model = tiny_model(name).but(workload=fitted(name, SMALL.but(height=256, width=256)))
    first, then = (Structure(model, model.workload) for _ in range(2))
    offered = offered_choices(CARD, first)
    asked_before = profile_of(model, first, CARD, caller)
    asked_after = profile_of(model, then, CARD, caller)
    assert asked_before == asked_after
    assert offered_choices(CARD, then) == offered
    assert profile_of(model, then, CARD, caller) == asked_after


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux")
def test_nothing_is_allocated_for_weights_that_would_take_34_gigabytes() -> None:
    profile("flux")  # what is imported stays
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_bytes("VmRSS")
    counted_of(planned("flux", steps=2))
    assert memory_bytes("VmHWM") - before < 300e6


# ---------------------------------------------------------------------------------------- tiles


def in_full(model: Model, choice: str, latents: tuple[int, ...]) -> Counted:
    """A decode in tiles, every one of them counted."""
    vae = copy.deepcopy(Structure(model, model.workload).module("vae"))
    torch.nn.Module.to(vae, torch.bfloat16).eval()
    vae_tiling.apply(SimpleNamespace(vae=vae, workload=model.workload), choice)  # type: ignore[arg-type]
    inputs = torch.empty(latents, dtype=torch.bfloat16, device="meta")
    return count(vae, vae.decode, ((inputs,), {"return_dict": False}), {})[0]


@pytest.mark.parametrize("choice", ["half", "quarter"])
@pytest.mark.parametrize(
    ("name", "size", "latents"),
    [
        ("flux", {"height": 512, "width": 768}, (1, 16, 64, 96)),
        ("wan-1.3b", {"height": 320, "width": 512, "frames": 5}, (1, 16, 2, 40, 64)),
    ],
)
def test_tiles_cost_what_all_of_them_cost(
    name: str, size: dict[str, int], latents: tuple[int, ...], choice: str
) -> None:
    found = profile(name, steps=2, **size).decode[choice]
    model = planned(name, **size)
    real = in_full(model, choice, latents)
    assert found.work.convolution == pytest.approx(real.convolution, rel=0.02)
    assert found.work.moved_bytes == pytest.approx(real.moved_bytes, rel=0.02)
    assert found.work.operations == pytest.approx(real.operations, rel=0.02)
    peak = found.narrow_bytes + found.other_bytes
    assert peak == pytest.approx(real.narrow_bytes + real.other_bytes, rel=0.05)


def test_tiles_take_less_memory_and_more_work() -> None:
    decode = profile("flux").decode
    off, half, quarter = (decode[choice] for choice in ("off", "half", "quarter"))
    assert off.narrow_bytes > 3 * half.narrow_bytes > 9 * quarter.narrow_bytes
    assert off.work.flops < half.work.flops < quarter.work.flops < 2 * off.work.flops
    assert off.output_bytes == half.output_bytes == quarter.output_bytes == 2 * 3 * 1024**2


def test_a_small_picture_has_no_tiles() -> None:
    model = tiny_model("sd15").but(workload=Workload(height=64, width=64, steps=2))
    found = profile_of(model, Structure(model, model.workload), CARD, caller)
    assert set(found.decode) == {"off"}
