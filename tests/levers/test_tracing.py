"""jit-trace: the same pictures, one copy of the weights, and traces that later trials load."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from autotune.levers import compile as lever
from autotune.levers import load_levers
from autotune.levers.base import Target
from autotune.levers.mechanisms import tracing
from autotune.trial import generate
from tests.levers.built import reasons
from tests.levers.views import loaded, view_of
from tests.trial.bench import CPU, SMALL

pytestmark = pytest.mark.trials


def traced(pipeline: str = "sd15", folder: Path | None = None) -> Target:
    target = loaded(pipeline, SMALL)
    target.prepared = folder
    lever.apply(target, "jit-trace")
    return target


def picture(target: Target, **changes: Any) -> Any:
    return generate.caller(target.pipe, target.workload.but(**changes))(0)[0]


@pytest.mark.parametrize("pipeline", ["sd15", "sdxl"])
def test_a_trace_makes_the_same_pictures_at_other_sizes_and_batches(pipeline: str) -> None:
    plain, other = loaded(pipeline, SMALL), traced(pipeline)
    for changes in ({}, {"height": 128, "width": 80}, {"batch": 3}, {"steps": 3}):
        assert bool((picture(plain, **changes) == picture(other, **changes)).all()), changes
    assert other.pipe.unet.config == plain.pipe.unet.config
    assert other.pipe.unet.dtype == plain.pipe.unet.dtype


def test_a_trace_of_an_earlier_trial_is_loaded_and_holds_no_weights(tmp_path: Path) -> None:
    first = traced(folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    weights = sum(p.numel() * p.element_size() for p in first.denoiser.parameters())
    assert kept.stat().st_size < weights / 2
    made = kept.stat().st_mtime_ns
    second = traced(folder=tmp_path)
    assert [path.stat().st_mtime_ns for path in tmp_path.iterdir()] == [made]
    kinds = [type(one.denoiser.forward._replay).__name__ for one in (first, second)]
    assert kinds == ["TopLevelTracedModule", "RecursiveScriptModule"]
    assert bool((picture(first) == picture(second)).all())


@pytest.mark.parametrize("kept", [False, True])
def test_the_weights_are_in_memory_once(tmp_path: Path, kept: bool) -> None:
    if kept:
        traced(folder=tmp_path)
    module = traced(folder=tmp_path).denoiser
    own = {one.data_ptr() for one in module.parameters()}
    assert {one.data_ptr() for one in module.forward._replay.parameters()} == own


def test_a_trace_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    first = traced(folder=tmp_path)
    (kept,) = tmp_path.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    second = traced(folder=tmp_path)
    assert len(kept.read_bytes()) > len(whole) // 2
    assert bool((picture(first) == picture(second)).all())


def test_other_settings_have_another_trace(tmp_path: Path) -> None:
    traced(folder=tmp_path)
    for choice in ("auto", "max"):
        sliced = loaded("sd15", SMALL)
        sliced.prepared = tmp_path
        load_levers()["attention-slicing"].apply(sliced, choice)
        lever.apply(sliced, "jit-trace")
    larger = loaded("sd15", SMALL.but(height=128))
    larger.prepared = tmp_path
    lever.apply(larger, "jit-trace")
    another = loaded("sd15", SMALL)
    another.prepared = tmp_path
    another.model = another.model.but(revision="another")
    lever.apply(another, "jit-trace")
    assert len(list(tmp_path.iterdir())) == 5


def test_a_trace_replays_without_the_hooks_that_were_there() -> None:
    target = loaded("sd15", SMALL)
    calls: list[int] = []
    target.denoiser.conv_in.register_forward_hook(lambda *_: calls.append(1))
    lever.apply(target, "jit-trace")
    recorded = len(calls)
    picture(target)
    assert len(calls) == recorded > 0


def test_a_trace_refuses_arguments_it_was_not_made_for() -> None:
    import torch

    target = traced()
    state = torch.zeros(2, 77, 32)
    sample = torch.zeros(2, 4, 8, 8)
    with pytest.raises(ValueError, match="other arguments"):
        target.denoiser(sample, 1, encoder_hidden_states=state)
    with pytest.raises(ValueError, match="other arguments"):
        target.denoiser(sample, torch.tensor(1), encoder_hidden_states=state, class_labels=state)
    made = target.denoiser(sample, torch.tensor(1), encoder_hidden_states=state)
    assert made.sample.shape == sample.shape


def test_tracing_says_nothing_of_its_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        traced()


def test_a_trace_that_is_gone_is_not_engaged() -> None:
    target = traced()
    assert lever.engaged(target, "jit-trace").engaged
    assert not lever.engaged(target, "none").engaged
    del target.denoiser.forward
    assert not lever.engaged(target, "jit-trace").engaged
    assert lever.engaged(target, "none").engaged


def test_only_unets_are_traced_and_not_on_a_python_that_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert reasons("compile", CPU, view_of("sd15"))["jit-trace"] is None
    refused = "FluxTransformer2DModel is no UNet, and only those are traced"
    assert reasons("compile", CPU, view_of("flux"))["jit-trace"] == refused
    with pytest.raises(ValueError, match=refused):
        traced("flux")
    monkeypatch.setattr(tracing.sys, "version_info", (3, 14, 0, "final", 0))
    assert "Python 3.14" in str(reasons("compile", CPU, view_of("sd15"))["jit-trace"])
    assert sys.version_info >= (3, 14)
