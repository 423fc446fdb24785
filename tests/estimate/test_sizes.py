"""Bytes of weights, held against what really loaded and quantized components take."""

from __future__ import annotations

import importlib
import tempfile
import timeit
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from autotune.estimate.profile import Weights
from autotune.estimate.sizes import (
    FORMATS,
    block_bytes,
    fused_bytes,
    largest_layer,
    part_bytes,
    rest_bytes,
    unpacked_bytes,
)
from autotune.estimate.weights import weights_of
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.levers.mechanisms.quanto_unpacking import unpack_without_extension
from autotune.levers.plan import Part
from autotune.models.catalog import find
from autotune.models.published import parts_of
from autotune.models.skeleton.build import structure_of
from autotune.models.structure import Structure
from autotune.trial.weights import plain_tensors, stored_bytes
from tests.trial.bench import SMALL, tiny_model

#: Those that a CPU can run; bitsandbytes quantizes on a CPU through transformers alone.
_ANYWHERE = (
    *("torchao-int8wo", "torchao-int8dq", "torchao-fp8wo"),
    *("quanto-int8", "quanto-int4", "quanto-fp8"),
    *("sdnq-int8", "sdnq-uint4", "sdnq-int8-matmul"),
)
_TRANSFORMERS = (*_ANYWHERE, "bnb-nf4", "bnb-fp4", "bnb-int8")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    unpack_without_extension()
    yield
    torch.set_num_threads(before)


@cache
def published(model: str, component: str) -> Weights:
    entry = find(model)
    assert entry is not None
    part = parts_of(entry)[component]
    return weights_of(structure_of(part), library=part.library)


def loaded(kind: Any, folder: Path, dtype: str, quantizer: str | None, library: str) -> Any:
    """The component as a trial loads it."""
    more = {}
    if quantizer is not None:
        more["quantization_config"] = QUANTIZERS[quantizer].make(library, number(dtype))
    return kind.from_pretrained(folder, dtype=number(dtype), **more)


def number(dtype: str) -> Any:
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]


def taken_and_counted(model: str, component: str, part: Part) -> tuple[int, int]:
    """What the tiny component takes as it is loaded, and what is said of it."""
    import torch

    record = tiny_model(model)
    one = record.component(component)
    assert one is not None
    kind = getattr(importlib.import_module(one.library), one.class_name)
    module = loaded(kind, Path(record.folder, component), part.dtype, part.quantizer, one.library)
    if part.cast:
        module.enable_layerwise_casting(
            storage_dtype=torch.float8_e4m3fn, compute_dtype=module.dtype
        )
    structure = Structure(record, SMALL).module(component)
    return stored_bytes(module), part_bytes(weights_of(structure, library=one.library), part)


# ----------------------------------------------------------------------------- equal to the byte


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    ("model", "component"),
    [
        ("flux", "transformer"),
        ("flux", "text_encoder"),
        ("flux", "text_encoder_2"),
        ("flux", "vae"),
        ("sd15", "unet"),
        ("sdxl", "text_encoder_2"),
        ("pixart", "transformer"),
        ("sana", "text_encoder"),
        ("wan", "transformer"),
        ("wan", "text_encoder"),
    ],
)
def test_a_loaded_component_takes_what_is_said(model: str, component: str, dtype: str) -> None:
    taken, counted = taken_and_counted(model, component, Part(dtype=dtype))
    assert counted == taken


@pytest.mark.parametrize(
    ("model", "component"),
    [("flux", "transformer"), ("sd15", "unet"), ("wan", "transformer"), ("sd3", "transformer")],
)
def test_a_component_that_is_cast_takes_what_is_said(model: str, component: str) -> None:
    taken, counted = taken_and_counted(model, component, Part(dtype="bf16", cast=True))
    assert counted == taken


@pytest.mark.parametrize("quantizer", _ANYWHERE)
@pytest.mark.parametrize(
    ("model", "component"),
    [("flux", "transformer"), ("sd15", "unet"), ("wan", "transformer"), ("flux", "vae")],
)
def test_a_quantized_model_takes_what_is_said(model: str, component: str, quantizer: str) -> None:
    taken, counted = taken_and_counted(model, component, Part(dtype="bf16", quantizer=quantizer))
    assert counted == taken


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("quantizer", _TRANSFORMERS)
@pytest.mark.parametrize("component", ["text_encoder", "text_encoder_2"])
def test_a_quantized_encoder_takes_what_is_said(
    component: str, quantizer: str, dtype: str
) -> None:
    taken, counted = taken_and_counted("flux", component, Part(dtype=dtype, quantizer=quantizer))
    assert counted == taken


def wide_flux() -> Any:
    """Wide enough for SDNQ, with widths that groups of 128 and 64 do not divide."""
    import diffusers

    return diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=64,
        num_attention_heads=5,
        joint_attention_dim=200,
        pooled_projection_dim=96,
        guidance_embeds=True,
        axes_dims_rope=(16, 24, 24),
    )


def wide_wan() -> Any:
    import diffusers

    return diffusers.WanTransformer3DModel(
        num_attention_heads=3, attention_head_dim=64, text_dim=200, ffn_dim=1500, num_layers=2
    )


def wide_t5() -> Any:
    import transformers

    config = transformers.T5Config(
        vocab_size=64, d_model=192, d_kv=16, d_ff=2500, num_layers=1, num_heads=12
    )
    return transformers.T5EncoderModel(config)


@pytest.mark.parametrize("make", [wide_flux, wide_wan, wide_t5])
def test_widths_that_divide_badly_take_what_is_said(make: Callable[[], Any]) -> None:
    import torch

    module = make()
    library = type(module).__module__.partition(".")[0]
    with torch.device("meta"):
        weights = weights_of(make(), library=library)
    taken, counted = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        for quantizer in _TRANSFORMERS if library == "transformers" else _ANYWHERE:
            one = loaded(type(module), Path(folder), "bf16", quantizer, library)
            taken[quantizer] = stored_bytes(one)
            counted[quantizer] = part_bytes(weights, Part(dtype="bf16", quantizer=quantizer))
    assert counted == taken
    plain = part_bytes(weights, Part(dtype="bf16"))
    assert all(size < plain for size in taken.values())


# --------------------------------------------------------------------------- what needs a card


@pytest.mark.parametrize(
    ("quantizer", "granularity"),
    [("torchao-fp8dq", "PerRow"), ("torchao-fp8dq-tensor", "PerTensor")],
)
def test_fp8_weights_for_fp8_products_take_what_is_said(quantizer: str, granularity: str) -> None:
    """Only the product needs a card."""
    import torch
    from torchao import quantization

    weight = quantization.Float8Tensor.from_hp(
        torch.ones(64, 48, dtype=torch.bfloat16),
        float8_dtype=torch.float8_e4m3fn,
        granularity=getattr(quantization, granularity)(),
    )
    holder = torch.nn.Module()
    holder.weight = torch.nn.Parameter(weight, requires_grad=False)
    taken = sum(one.numel() * one.element_size() for _, one in plain_tensors(holder))
    assert FORMATS[quantizer].packed((64, 48), 2, "diffusers") == taken


@pytest.mark.parametrize("shape", [(3072, 3072), (64, 128), (30, 1536)])
def test_four_bits_in_tiles_are_filled_up(shape: tuple[int, int]) -> None:
    """On meta: the packing itself runs on a card alone."""
    import torch
    from torchao.utils import find_multiple

    rows, columns = find_multiple(shape[0], 8), find_multiple(shape[1], 1024)
    halves = torch.empty(rows, columns // 2, dtype=torch.uint8, device="meta")
    tiles = torch.ops.aten._convert_weight_to_int4pack(halves, 8)
    scales_and_zeros = columns // 128 * rows * 2
    taken = tiles.numel() * tiles.element_size() + scales_and_zeros * 2
    assert FORMATS["torchao-int4wo"].packed(shape, 2, "diffusers") == taken


def test_every_quantizer_has_a_format() -> None:
    assert FORMATS.keys() == QUANTIZERS.keys()


# ------------------------------------------------------------------------------------- full size


def test_full_size_flux_takes_what_it_is_known_to_take() -> None:
    entry = find("flux")
    assert entry is not None
    sizes = {
        name: part_bytes(published("flux", name), Part(dtype="bf16"))
        for name, part in parts_of(entry).items()
        if part.parameters
    }
    assert sizes["transformer"] == 23_802_816_640
    assert sum(sizes.values()) == pytest.approx(33.74e9, rel=0.001)
    four = Part(dtype="bf16", quantizer="bnb-nf4")
    assert 6.69e9 < part_bytes(published("flux", "transformer"), four) < 6.75e9
    # 24 projections of 4096 x 10240, which stay 16 bits, are 2.0 GB of it, the embedding 0.26.
    assert part_bytes(published("flux", "text_encoder_2"), four) == pytest.approx(
        4.315e9, rel=0.001
    )


def test_all_of_a_component_is_its_blocks_and_the_rest() -> None:
    for part in (
        Part(dtype="bf16"),
        Part(dtype="bf16", quantizer="torchao-int8wo"),
        Part(dtype="bf16", cast=True),
        Part(dtype="bf16", file_bytes=6_800_000_000),
    ):
        weights = published("flux", "transformer")
        blocks = block_bytes(weights, part)
        assert [count for count, _ in blocks] == [19, 1, 37]
        in_blocks = sum(count * size for count, size in blocks)
        assert in_blocks + rest_bytes(weights, part) == part_bytes(weights, part)
        assert 0.9 < in_blocks / part_bytes(weights, part) < 1.0


def test_the_largest_layer_is_found_as_it_lies() -> None:
    denoiser, encoder = published("flux", "transformer"), published("flux", "text_encoder_2")
    assert largest_layer(denoiser, Part(dtype="bf16")) == 18432 * 3072 * 2
    assert largest_layer(denoiser, Part(dtype="bf16", cast=True)) == 18432 * 3072 * 2  # of a norm
    assert largest_layer(encoder, Part(dtype="bf16", quantizer="bnb-nf4")) == 32128 * 4096 * 2


def test_a_file_says_what_it_takes() -> None:
    weights = published("flux", "transformer")
    part = Part(dtype="bf16", file_bytes=6_800_000_000)
    assert part_bytes(weights, part) == 6_800_000_000
    assert unpacked_bytes(weights, part) == 18432 * 3072 * 2
    assert unpacked_bytes(weights, Part(dtype="bf16", file_bytes=30_000_000_000)) == 0


def test_fused_projections_take_what_is_said() -> None:
    kind = importlib.import_module("diffusers").FluxTransformer2DModel
    folder = Path(tiny_model("flux").folder, "transformer")
    module = loaded(kind, folder, "bf16", None, "diffusers")
    before = stored_bytes(module)
    module.fuse_qkv_projections()
    structure = Structure(tiny_model("flux"), SMALL).module("transformer")
    weights = weights_of(structure, library="diffusers")
    assert fused_bytes(weights, Part(dtype="bf16")) == stored_bytes(module) - before > 0


def test_asking_again_takes_no_time() -> None:
    weights = published("flux", "transformer")
    part = Part(dtype="bf16", quantizer="bnb-nf4")
    part_bytes(weights, part)
    took_s = min(timeit.repeat(lambda: part_bytes(weights, part), number=1000, repeat=5)) / 1000
    assert took_s < 50e-6


def test_two_lists_are_not_taken_for_each_other() -> None:
    """What is remembered goes with the list it is of, whose place in memory another one gets."""
    part = Part(dtype="bf16")
    weights = published("flux", "transformer")
    for count in range(1, 50):
        shorter = weights.but(rest=weights.rest[:1], blocks=(weights.blocks[0].but(count=count),))
        assert block_bytes(shorter, part)[0][0] == count


# ------------------------------------------------------------------------------------- unpacking


@pytest.mark.parametrize("quantizer", ["torchao-int8wo", "torchao-fp8wo", "quanto-fp8"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_unpacking_takes_what_is_said(quantizer: str, dtype: str) -> None:
    width = 512
    layer = quantized_linear(quantizer, width, dtype)
    most = peak_bytes(layer, width, dtype)
    said = FORMATS[quantizer].unpacked((width, width), dtype)
    assert said <= most < 1.1 * said + 20_000  # the input and output of two tokens


def quantized_linear(quantizer: str, width: int, dtype: str) -> Any:
    import torch

    layer = torch.nn.Linear(width, width, bias=False, dtype=number(dtype))
    if quantizer.startswith("quanto"):
        from optimum.quanto import freeze, qfloat8, quantize

        holder = torch.nn.Sequential(layer)
        quantize(holder, weights=qfloat8)
        freeze(holder)
        return holder
    from torchao.quantization import quantize_

    quantize_(layer, QUANTIZERS[quantizer].make("diffusers", number(dtype)).quant_type)
    return layer


def peak_bytes(layer: Any, width: int, dtype: str) -> int:
    """The most that lies in memory at once during a call, by the events of the allocator."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    tokens = torch.ones(2, width, dtype=number(dtype))
    with torch.no_grad():
        layer(tokens)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            layer(tokens)
    events = profiler.profiler.kineto_results.events()
    now = most = 0
    for event in sorted(events, key=lambda one: one.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


def test_compiled_code_unpacks_to_one_copy_at_most() -> None:
    weights = published("flux", "transformer")
    part = Part(dtype="bf16", quantizer="torchao-fp8wo")
    assert unpacked_bytes(weights, part) == 18432 * 3072 * 10
    assert unpacked_bytes(weights, part, compiled=True) == 18432 * 3072 * 2
    packed = Part(dtype="bf16", quantizer="torchao-fp8dq")
    assert unpacked_bytes(weights, packed, compiled=True) == 0


def test_whole_weights_are_not_unpacked_and_cast_ones_are_cast_up() -> None:
    weights = published("flux", "transformer")
    assert unpacked_bytes(weights, Part(dtype="bf16")) == 0
    assert unpacked_bytes(weights, Part(dtype="bf16", cast=True)) == 3072 * 15360 * 2


def test_a_kernel_takes_four_bits_as_they_lie() -> None:
    weights = published("flux", "transformer")
    bf16 = unpacked_bytes(weights, Part(dtype="bf16", quantizer="quanto-int4"))
    fp16 = unpacked_bytes(weights, Part(dtype="fp16", quantizer="quanto-int4"))
    assert bf16 == 64 * 3072 * 5  # its groups are rows of 64
    assert fp16 == 18432 * 3072 * 5
