"""allocator, matmul-precision, cudnn-benchmark: what only a card does is checked by its names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest

from autotune.levers import load_levers
from autotune.levers.rules import broken_rule
from autotune.models.structure import Structure
from tests.levers.built import built, card, proof, reasons
from tests.trial.bench import CPU, SMALL, tiny_model

pytestmark = pytest.mark.trials


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    import torch

    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False


# ------------------------------------------------------------------------------------- allocator


def test_expandable_segments_are_for_nvidia_cards() -> None:
    assert reasons("allocator", card("7.5"))["expandable-segments"] is None
    for kind in ("rocm", "xpu", "mps", "cpu"):
        reason = reasons("allocator", card(None, kind))["expandable-segments"]
        assert reason == f"only the allocator for NVIDIA cards has it, this is {kind}"


def test_the_allocators_parser_takes_the_setting_and_tells_it_back() -> None:
    """In a process of its own: the setting cannot be taken back."""
    import subprocess
    import sys

    code = (
        "import torch; from autotune.levers import allocator\n"
        "ask = torch._C._accelerator_getAllocatorSettings\n"
        "torch._C._accelerator_setAllocatorSettings('max_split_size_mb:128')\n"
        "allocator.apply(None, 'default'); print(ask())\n"
        "for _ in range(2): allocator.apply(None, 'expandable-segments'); print(ask())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    both = "max_split_size_mb:128,expandable_segments:True"
    assert told.stdout.splitlines() == ["max_split_size_mb:128", both, both]


def test_what_the_allocator_does_not_show_is_no_proof() -> None:
    target = built("sd15", allocator="default")
    assert proof(target, "allocator", "default").engaged
    assert not proof(target, "allocator", "expandable-segments").engaged


def test_torch_lists_the_segments_of_the_allocator() -> None:
    import torch

    assert not any(
        parameter.default is inspect.Parameter.empty
        for parameter in inspect.signature(torch.cuda.memory_snapshot).parameters.values()
    )


# ------------------------------------------------------------------------------ matmul-precision


def test_tf32_is_for_cards_from_ampere_on() -> None:
    assert reasons("matmul-precision", card("7.5"))["high"] == (
        "compute capability 7.5 has no TF32 (8.0 and later have)"
    )
    assert reasons("matmul-precision", card("8.0"))["high"] is None
    assert reasons("matmul-precision", card("9.0"))["medium"] is not None
    assert reasons("matmul-precision", card(None, "mps"))["high"] is not None


@pytest.mark.parametrize("choice", ["high", "medium"])
def test_a_precision_is_offered_on_a_cpu_exactly_if_it_changes_a_product(choice: str) -> None:
    import torch

    left = torch.randn(700, 700, generator=torch.Generator().manual_seed(2))
    exact = left @ left
    torch.set_float32_matmul_precision(choice)
    changes = not torch.equal(left @ left, exact)
    torch.set_float32_matmul_precision("highest")
    reason = reasons("matmul-precision", CPU, Structure(tiny_model("sd15"), SMALL))[choice]
    assert (reason is None) is changes
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_setting_that_does_not_stand_or_does_nothing_is_no_proof() -> None:
    import torch

    target = built("sd15", matmul_precision="highest")
    assert proof(target, "matmul-precision", "highest").engaged
    assert not proof(target, "matmul-precision", "medium").engaged
    torch.set_float32_matmul_precision("medium")
    assert not proof(target, "matmul-precision", "highest").engaged
    assert not proof(target, "matmul-precision", "high").engaged
    assert torch.get_float32_matmul_precision() == "medium"
    half = built("sd15", dtype="bf16", matmul_precision="medium")
    found = proof(half, "matmul-precision", "medium")
    assert not found.engaged
    assert found.detail.endswith("in fp32: nothing")


def test_it_needs_something_in_fp32() -> None:
    def rule(**choices: str) -> str | None:
        candidate = {name.replace("_", "-"): choice for name, choice in choices.items()}
        found = broken_rule(candidate, device="cuda", family=None, software={})
        return found.id if found else None

    assert rule(dtype="bf16", vae_dtype="same", matmul_precision="high") == "precision-needs-fp32"
    assert rule(dtype="fp16", vae_dtype="bf16", matmul_precision="high") == "precision-needs-fp32"
    assert rule(dtype="bf16", vae_dtype="fp32", matmul_precision="high") is None
    assert rule(dtype="fp32", vae_dtype="same", matmul_precision="high") is None
    assert rule(dtype="bf16", vae_dtype="same", matmul_precision="highest") is None


# ------------------------------------------------------------------------------- cudnn-benchmark


def test_cudnn_is_for_nvidia_cards_and_models_with_convolutions() -> None:
    view = Structure(tiny_model("sd15"), SMALL)
    assert reasons("cudnn-benchmark", card(), view)["on"] is None
    assert reasons("cudnn-benchmark", CPU, view)["on"] == "needs cuDNN, this is cpu"
    bare = Structure(tiny_model("flux"), SMALL)
    bare._modules["vae"] = None
    assert reasons("cudnn-benchmark", card(), bare)["on"] == (
        "neither denoiser nor VAE has a convolution"
    )


def test_the_flag_alone_is_no_proof() -> None:
    import torch

    assert isinstance(torch.backends.cudnn.benchmark, bool)
    target = built("sd15", cudnn_benchmark="on")
    assert torch.backends.cudnn.benchmark
    assert not proof(target, "cudnn-benchmark", "on").engaged
    assert not proof(target, "cudnn-benchmark", "off").engaged
    load_levers()["cudnn-benchmark"].apply(target, "off")
    assert not torch.backends.cudnn.benchmark
    assert proof(target, "cudnn-benchmark", "off").engaged
