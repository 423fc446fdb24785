"""cache: what it plans to keep between steps, against the states of diffusers' hooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autotune.levers import cache
from autotune.levers.mechanisms.residency import blocks_of
from autotune.levers.plan import Plan
from autotune.trial import generate
from tests.levers.built import planned
from tests.levers.views import LONG, loaded

pytestmark = pytest.mark.trials

#: Wide enough that what has the size of latents is small beside what has that of a block.
WIDE = LONG.but(height=256, width=256)


def states(denoiser: Any) -> Iterator[Any]:
    for module in denoiser.modules():
        registry = getattr(module, "_diffusers_hook", None)
        for hook in registry.hooks.values() if registry else ():
            yield getattr(hook, "state", None)
            manager = getattr(hook, "state_manager", None)
            yield from manager._state_cache.values() if manager else ()


def tensors(value: Any) -> Iterator[Any]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from tensors(one)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif type(value).__module__.startswith("diffusers.hooks"):
        yield from tensors(vars(value))


def kept_bytes(denoiser: Any) -> int:
    storages = [one.untyped_storage() for state in states(denoiser) for one in tensors(state)]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())


def seen(name: str, choice: str, **changes: Any) -> tuple[int, int, int]:
    """The bytes kept at most, those kept while the picture is decoded, and of a block's output."""
    target = loaded(name, WIDE.but(**changes))
    cache.apply(target, choice)
    denoiser, vae = target.denoiser, target.pipe.vae
    within, decoding, outputs = [0], [0], [0]

    def note(_: Any, __: Any, output: Any) -> None:
        within.append(kept_bytes(denoiser))
        outputs.append(sum(one.nbytes for one in tensors(output)))

    for block in blocks_of(denoiser).values():
        block.register_forward_hook(note)
    decode = vae.decode

    def noting_decode(*arguments: Any, **named: Any) -> Any:
        decoding.append(kept_bytes(denoiser))
        return decode(*arguments, **named)

    vae.decode = noting_decode
    generate.caller(target.pipe, target.workload)(0)
    return max(within), max(decoding), max(outputs)


def foreseen(plan: Plan, blocks: int, output_bytes: int) -> float:
    return (plan.kept_outputs + plan.kept_per_block * blocks) * output_bytes


@pytest.mark.parametrize(
    "choice", ["first-block-5", "magcache-6", "taylorseer-3", "pab-2", "fastercache-2"]
)
def test_what_a_cache_keeps_of_flux_is_what_it_plans(choice: str) -> None:
    most, decoding, output = seen("flux", choice)
    plan = planned("flux", dtype="fp32", cache=choice)
    assert 0.85 < most / foreseen(plan, blocks=2, output_bytes=output) <= 1.0
    assert decoding > 0, "it is let go of only when the picture is there"


def test_the_first_block_cache_of_a_model_without_text_in_its_blocks_keeps_as_much() -> None:
    most, _, output = seen("wan", "first-block-5", guidance=1.0, height=64, width=64)
    assert most == foreseen(planned("wan", cache="first-block-5"), 2, output)


def test_lite_keeps_no_output_of_a_block_and_plans_none() -> None:
    most, _, output = seen("flux", "taylorseer-5-lite")
    assert most < output
    assert planned("flux", cache="taylorseer-5-lite") == planned("flux")


def test_taylorseer_keeps_bf16_whatever_is_computed_in() -> None:
    kept = {
        dtype: planned("flux", dtype=dtype, cache="taylorseer-3").kept_per_block
        for dtype in ("fp32", "bf16", "fp16")
    }
    assert kept == {"fp32": 1.0, "bf16": 2.0, "fp16": 2.0}


def test_the_strength_of_a_cache_changes_nothing_of_what_it_keeps() -> None:
    for weak, strong in (("first-block-5", "first-block-12"), ("pab-2", "pab-4")):
        assert planned("flux", cache=weak) == planned("flux", cache=strong)
    assert planned("flux", cache="text-kv") == planned("flux", cache="none") == planned("flux")
