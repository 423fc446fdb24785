"""What a component is made of, and who leaves which weights alone. Real modules on meta."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from math import prod
from typing import Any

import pytest

from autotune.estimate.profile import Tensors, Weights
from autotune.estimate.weights import CASTING, rows_of, sdnq_lists, weights_of
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.models.catalog import find
from autotune.models.published import parts_of
from autotune.models.skeleton.build import structure_of
from autotune.models.structure import Structure
from tests.trial.bench import SMALL, tiny_model


@cache
def tiny(model: str, component: str) -> Any:
    return Structure(tiny_model(model), SMALL).module(component)


@cache
def published(model: str, component: str) -> Weights:
    entry = find(model)
    assert entry is not None
    part = parts_of(entry)[component]
    return weights_of(structure_of(part), library=part.library)


def all_of(weights: Weights) -> Iterator[tuple[int, Tensors]]:
    """Every row, after how often it is there."""
    for row in weights.rest:
        yield row.count, row
    for block in weights.blocks:
        yield from ((block.count * row.count, row) for row in block.tensors)


def numbers(rows: Iterable[tuple[int, Tensors]]) -> int:
    return sum(count * prod(row.shape) for count, row in rows)


def spared(rows: Mapping[str, Tensors], by: str) -> set[str]:
    """The Linears that one leaves alone."""
    return {name for name, row in rows.items() if row.kind == "linear" and by in row.whole}


# --------------------------------------------------------------------------------- what is there


@pytest.mark.parametrize(
    ("model", "component"),
    [
        ("flux", "transformer"),
        ("flux", "text_encoder_2"),
        ("flux", "vae"),
        ("sdxl", "unet"),
        ("qwen-image", "transformer"),
    ],
)
def test_every_weight_is_counted_once(model: str, component: str) -> None:
    entry = find(model)
    assert entry is not None
    there = numbers(all_of(published(model, component)))
    assert there == parts_of(entry)[component].parameters


def test_tied_weights_lie_in_memory_once() -> None:
    """T5's embedding has two names."""
    weights = published("flux", "text_encoder_2")
    embeddings = [(count, row.shape) for count, row in all_of(weights) if row.kind == "embedding"]
    assert embeddings.count((1, (32128, 4096))) == 1
    assert len(embeddings) == 2  # and one of distances


def test_blocks_of_the_same_weights_are_one_block() -> None:
    blocks = published("flux", "transformer").blocks
    counts = {block.name.partition(".")[0]: 0 for block in blocks}
    for block in blocks:
        counts[block.name.partition(".")[0]] += block.count
    assert counts == {"transformer_blocks": 19, "single_transformer_blocks": 38}
    # SDNQ leaves a weight of the first single block alone, and so it stands by itself.
    assert [block.count for block in blocks] == [19, 1, 37]


def test_kinds_are_told_by_the_modules() -> None:
    kinds = {name: row.kind for name, row in rows_of(tiny("sd15", "unet"), "diffusers").items()}
    assert kinds["conv_in.weight"] == "convolution"
    assert kinds["conv_in.bias"] == "other"
    assert kinds["time_embedding.linear_1.weight"] == "linear"
    assert kinds["time_embedding.linear_1.bias"] == "other"
    assert kinds["conv_norm_out.weight"] == "other"
    text = {name: row.kind for name, row in rows_of(tiny("sd15", "text_encoder"), "").items()}
    assert {kind for name, kind in text.items() if "embedding.weight" in name} == {"embedding"}


def test_a_list_of_weights_comes_back_from_json() -> None:
    weights = published("flux", "transformer")
    assert Weights.model_validate_json(weights.model_dump_json()) == weights


# ---------------------------------------------------------------------------- formats that stay


def test_what_wan_keeps_in_fp32_is_told() -> None:
    rows = rows_of(tiny("wan", "transformer"), "diffusers")
    kept = {name for name, row in rows.items() if row.fp32}
    assert "scale_shift_table" in kept
    assert "condition_embedder.time_embedder.linear_1.weight" in kept
    assert "blocks.0.norm2.weight" in kept
    assert "blocks.0.attn1.norm_q.weight" not in kept  # norm2 is a name, not a part of one
    assert {rows[name].fp32 for name in kept} == {("bf16", "fp16")}


def test_t5_keeps_a_projection_in_fp32_if_it_is_loaded_in_fp16_alone() -> None:
    rows = rows_of(tiny("flux", "text_encoder_2"), "transformers")
    kept = {name: row.fp32 for name, row in rows.items() if row.fp32}
    assert set(kept) == {name for name in rows if ".wo." in name} != set()
    assert set(kept.values()) == {("fp16",)}


def test_tables_that_no_checkpoint_holds_have_the_format_their_class_gives_them() -> None:
    wan = rows_of(tiny("wan", "transformer"), "diffusers")
    assert wan["rope.freqs_cos"].number_bytes == 4
    pixart = rows_of(tiny("pixart", "transformer"), "diffusers")
    assert pixart["pos_embed.pos_embed"].number_bytes == 4
    clip = rows_of(tiny("flux", "text_encoder"), "transformers")
    assert [row.number_bytes for name, row in clip.items() if "position_ids" in name] == [8]


def test_counting_leaves_the_process_as_it_was() -> None:
    import torch

    before = torch.get_default_dtype()
    weights_of(tiny("wan", "transformer"), library="diffusers")
    assert torch.get_default_dtype() == before


# --------------------------------------------------------------------------- who leaves what alone


def test_t5s_last_projection_is_left_alone_by_some_quantizers() -> None:
    rows = rows_of(tiny("flux", "text_encoder_2"), "transformers")
    last = {name for name in rows if name.endswith(".wo.weight")}
    assert spared(rows, "bitsandbytes") == spared(rows, "optimum-quanto") == last
    assert spared(rows, "torchao") == set()
    assert spared(rows, "sdnq") == last


def test_what_bitsandbytes_would_replace_in_wan_is_what_is_not_left_alone() -> None:
    """diffusers' own replacement, which needs no card on meta, where its quantizer needs one."""
    import bitsandbytes
    import torch
    from diffusers.quantizers.bitsandbytes.utils import replace_with_bnb_linear

    module = tiny("wan", "transformer")
    rows = rows_of(module, "diffusers")
    replaced = replace_with_bnb_linear(
        copy.deepcopy(module),
        modules_to_not_convert=list(module._keep_in_fp32_modules),
        quantization_config=QUANTIZERS["bnb-nf4"].make("diffusers", torch.bfloat16),
    )
    linears = {name for name, row in rows.items() if row.kind == "linear"}
    taken = {
        f"{name}.weight"
        for name, part in replaced.named_modules()
        if isinstance(part, bitsandbytes.nn.Linear4bit)
    }
    assert linears - spared(rows, "bitsandbytes") == taken
    assert spared(rows, "bitsandbytes") == {
        "condition_embedder.time_embedder.linear_1.weight",
        "condition_embedder.time_embedder.linear_2.weight",
    }


def test_quanto_takes_what_lies_in_a_module_that_is_kept() -> None:
    rows = rows_of(tiny("wan", "transformer"), "diffusers")
    assert spared(rows, "optimum-quanto") == set()
    assert spared(rows, "torchao") == spared(rows, "bitsandbytes") != set()


def test_sdnqs_lists_are_read_as_it_has_them() -> None:
    from sdnq.common import common_skip_keys, module_skip_keys_dict

    common, by_class = sdnq_lists()
    assert common == common_skip_keys
    assert by_class == {name: row[0] for name, row in module_skip_keys_dict.items()}


def test_projections_of_torchs_own_attention_are_left_alone() -> None:
    import torch

    with torch.device("meta"):
        attention = torch.nn.MultiheadAttention(64, 2)
    kinds = rows_of(attention, "diffusers")["out_proj.weight"]
    assert kinds.kind == "linear"
    assert {"torchao", "sdnq"} <= set(kinds.whole)
    assert "bitsandbytes" not in kinds.whole


@pytest.mark.parametrize(
    ("model", "component"),
    [("flux", "transformer"), ("wan", "transformer"), ("sd15", "unet"), ("sd3", "vae")],
)
def test_what_layerwise_casting_leaves_is_what_has_no_hook(model: str, component: str) -> None:
    import torch

    module = copy.deepcopy(tiny(model, component))
    rows = rows_of(module, "diffusers")
    module.enable_layerwise_casting(
        storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16
    )
    small = {
        name for name, tensor in module.named_parameters() if tensor.dtype is torch.float8_e4m3fn
    }
    assert {name for name, row in rows.items() if CASTING not in row.whole} == small != set()


def test_a_component_of_another_library_is_quantized_by_nobody() -> None:
    rows = rows_of(tiny("flux", "vae"), "somebody")
    assert {package for row in rows.values() for package in row.whole} <= {CASTING}


# ------------------------------------------------------------------------------- fused projections


@pytest.mark.parametrize(("model", "component"), [("flux", "transformer"), ("sd15", "unet")])
def test_fused_projections_are_what_fusing_adds(model: str, component: str) -> None:
    module = copy.deepcopy(tiny(model, component))
    before = sum(one.numel() for one in module.parameters())
    weights = weights_of(module, library="diffusers")
    assert sum(one.numel() for one in module.parameters()) == before  # a copy was fused
    module.fuse_qkv_projections()
    added = sum(one.numel() for one in module.parameters()) - before
    assert sum(row.count * prod(row.shape) for row in weights.fused) == added > 0


def test_what_cannot_be_fused_adds_nothing() -> None:
    assert weights_of(tiny("flux", "text_encoder_2"), library="transformers").fused == ()
