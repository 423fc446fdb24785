"""Watching a generation sees compiled modules too, changes nothing, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from autotune.levers.base import Target
from autotune.trial import clock, generate
from autotune.trial.memory import make_meter
from tests.levers.views import loaded
from tests.trial.bench import CPU, SMALL

pytestmark = pytest.mark.trials


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def observe(target: Target, watched: dict[str, Any] | None = None) -> clock.Observation:
    call = generate.caller(target.pipe, target.workload)
    with clock.observing(target, make_meter(CPU), lambda: None, lambda _: None, watched) as seen:
        call(0)
    return seen


def marks(target: Target) -> Iterator[tuple[str, Any]]:
    """What watching could leave on a module: a callable of its own, or a hook."""
    for component in target.pipe.components.values():
        for path, part in getattr(component, "named_modules", dict)():
            yield path, vars(part).get("_compiled_call_impl")
            yield path, len(part._forward_hooks) + len(part._forward_pre_hooks)


def test_every_denoiser_the_decoder_and_what_is_watched_are_counted() -> None:
    target = loaded("wan", SMALL, twin=True)
    layer = target.denoiser.blocks[0].attn1.to_q
    found = observe(target, {"a layer": layer})
    calls = {name: seen.calls for name, seen in found.seen.items()}
    passes = calls["transformer"]
    assert passes == len(found.forwards_s) == 2 * target.workload.steps, "with guidance, two each"
    assert calls["transformer_2"] == 0, "this pipeline never calls it"
    assert calls["a layer"] == passes
    assert calls["vae.decoder"] == 2
    assert list(found.phases_s) == ["encode", "denoise", "decode"]
    assert sum(found.forwards_s) <= found.phases_s["denoise"]
    assert not any(seen.graphs for seen in found.seen.values())


def test_a_second_denoiser_is_timed_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    target = loaded("wan", SMALL, twin=True)
    first, second = target.denoisers.values()

    def in_turn(*positional: Any, **named: Any) -> Any:
        return second(*positional, **named)

    monkeypatch.setattr(first, "forward", in_turn)
    found = observe(target)
    assert found.seen["transformer_2"].calls == found.seen["transformer"].calls > 0
    assert len(found.forwards_s) == 2 * found.seen["transformer"].calls


def test_watching_leaves_nothing_behind_also_when_the_generation_fails() -> None:
    target = loaded("sd15", SMALL)
    target.vae.decoder.compile(backend="eager")
    before = list(marks(target))
    observe(target, {"mid": target.vae.decoder.mid_block, "text": target.pipe.text_encoder})
    assert list(marks(target)) == before

    def fail(*_: Any) -> None:
        raise RuntimeError("as asked")

    target.denoiser.conv_out.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="as asked"):
        observe(target)
    assert [mark for mark in marks(target) if mark not in before] == [("conv_out", 1)]


def test_watching_a_compiled_module_compiles_nothing_again() -> None:
    from torch._dynamo.utils import counters
    from torch._inductor.output_code import CompiledFxGraph

    target = loaded("flux", SMALL)
    target.denoiser.compile_repeated_blocks()
    call = generate.caller(target.pipe, target.workload)
    call(0)
    known, run = dict(counters["stats"]), CompiledFxGraph.__call__
    inside = target.denoiser.transformer_blocks[0].attn.to_q
    block = target.denoiser.transformer_blocks[0]
    watched = {"inside": inside, "block": block}
    found = observe(target, watched)
    call(0)
    assert dict(counters["stats"]) == known
    assert CompiledFxGraph.__call__ is run
    assert found.seen["transformer"].calls == len(found.forwards_s) == SMALL.steps
    assert found.seen["transformer"].graphs == 2 * SMALL.steps, "two blocks a step"
    assert found.seen["block"].graphs == found.seen["block"].calls == SMALL.steps
    assert found.seen["vae.decoder"].graphs == 0
    assert "inside" not in found.seen
    hidden = clock.hidden(target, watched)
    assert list(hidden) == ["inside"]
    with clock.uncompiled(hidden) as seen:
        call(0)
    assert seen["inside"].calls == SMALL.steps
    assert dict(counters["stats"]) == known


def test_nothing_is_hidden_where_nothing_is_compiled() -> None:
    target = loaded("flux", SMALL)
    assert clock.hidden(target, {"layer": target.denoiser.proj_out}) == {}
