"""Bytes of quantized weights, down to the tensors they are really made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.trial.weights import plain_tensors, stored_bytes

pytestmark = pytest.mark.trials

#: A T5 of two blocks: 12 square or oblong Linears that every quantizer takes, 2 that some leave
#: (transformers keeps T5's last projection apart), and what is no Linear.
WIDTH, INNER = 128, 256
ATTENTION, GATES, LAST = 8 * WIDTH * WIDTH, 4 * WIDTH * INNER, 2 * INNER * WIDTH
ROWS_TAKEN, ROWS_LAST = 8 * WIDTH + 4 * INNER, 2 * WIDTH
#: Embeddings, norms and position tables, of two bytes each.
REST = 2 * (64 * WIDTH + 5 * WIDTH + 32 * 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("t5")
    config = transformers.T5Config(
        vocab_size=64,
        d_model=WIDTH,
        d_kv=64,
        d_ff=INNER,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder


def load(folder: Path, quantizer: str | None = None) -> Any:
    import torch
    import transformers

    more = {}
    if quantizer is not None:
        make = QUANTIZERS[quantizer].make
        more["quantization_config"] = make("transformers", torch.bfloat16)
    return transformers.T5EncoderModel.from_pretrained(folder, dtype=torch.bfloat16, **more)


TAKEN, KEPT = ATTENTION + GATES, 2 * LAST
SIZES = {
    None: 2 * (TAKEN + LAST) + REST,
    # A number a byte, and by row a scale of four bytes; torchao's integers have a zero point too.
    "torchao-int8wo": TAKEN + LAST + (ROWS_TAKEN + ROWS_LAST) * 5 + REST,
    "torchao-int8dq": TAKEN + LAST + (ROWS_TAKEN + ROWS_LAST) * 5 + REST,
    "torchao-fp8wo": TAKEN + LAST + (ROWS_TAKEN + ROWS_LAST) * 4 + REST,
    # Scales of two bytes, and two numbers a layer that say how activations are scaled.
    "quanto-int8": TAKEN + KEPT + ROWS_TAKEN * 2 + 12 * 2 * 4 + REST,
    "sdnq-int8": TAKEN + KEPT + ROWS_TAKEN * 4 + REST,
    # A scale and a zero point of four bytes for every 64 numbers.
    "sdnq-uint4": TAKEN // 2 + KEPT + TAKEN // 64 * 8 + REST,
    "bnb-int8": TAKEN + KEPT + ROWS_TAKEN * 4 + REST,
    # A scale of four bytes for every 64 numbers, and a table of 16 values a layer.
    "bnb-nf4": TAKEN // 2 + KEPT + TAKEN // 64 * 4 + 12 * 16 * 4 + REST,
}


@pytest.mark.parametrize("quantizer", SIZES)
def test_every_byte_of_a_quantized_module_is_counted_and_none_twice(
    folder: Path, quantizer: str | None
) -> None:
    import torch

    module = load(folder, quantizer)
    assert stored_bytes(module) == SIZES[quantizer]
    with torch.no_grad():
        module(torch.zeros(1, 4, dtype=torch.long))
    assert stored_bytes(module) == SIZES[quantizer] - _halved(quantizer), "scales are moved about"
    names = [name for name, _ in plain_tensors(module)]
    assert len(names) == len(set(names))


def _halved(quantizer: str | None) -> int:
    """What bitsandbytes' scales of 4-bit weights lose where it lays them out for AVX-512."""
    from bitsandbytes.functional import has_avx512bf16

    return TAKEN // 64 * 2 if quantizer == "bnb-nf4" and has_avx512bf16() else 0


def test_what_parameters_say_of_themselves_is_the_size_they_stand_for(folder: Path) -> None:
    """Why ``numel`` and ``element_size`` of parameters are not asked."""
    module = load(folder, "torchao-int8wo")
    said = sum(one.numel() * one.element_size() for one in module.parameters())
    assert said == SIZES[None]
    assert stored_bytes(module) < 0.6 * said
