"""The classic setups of this field, each by name, really run: the halves that need no GPU.

What needs a card (bitsandbytes on the denoiser, streams) is in ``tests/gpu``.
Offload to the host is forced here, where the device is the host: diffusers' own hooks do run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from autotune.records import Outcome
from autotune.status import Status
from tests.contract.pairs import ALL, baseline, prepared_folder, spec_of
from tests.engine.driving import local_engine, run

pytestmark = pytest.mark.trials

Tries = Callable[..., Outcome]


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tries]:
    """Run a candidate of a tiny pipeline, every other lever on its baseline."""
    numbers = itertools.count()
    folder = tmp_path_factory.mktemp("seeds")

    def go(pipeline: str, **choices: str) -> Outcome:
        named = {lever.replace("_", "-"): choice for lever, choice in choices.items()}
        candidate = dict(baseline(pipeline)) | named
        spec = spec_of(pipeline, candidate, "seed", prepared=str(prepared_folder()))
        _, outcome = run(engine, spec, folder / str(next(numbers)))
        assert outcome.status is Status.MEASURED, f"{named}: {outcome.status} {outcome.message}"
        for lever in named:
            assert outcome.engaged[lever].engaged, outcome.engaged[lever].detail
        return outcome

    with local_engine(folder, "seeds", cold=False) as engine:
        yield go


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_sliced_vae(tries: Tries, pipeline: str) -> None:
    assert "1 picture" in tries(pipeline, vae_slicing="on").engaged["vae-slicing"].detail


@pytest.mark.parametrize("pipeline", ["sd15", "flux"])
def test_tiled_vae(tries: Tries, pipeline: str) -> None:
    assert "of 128 pixels" in tries(pipeline, vae_tiling="half").engaged["vae-tiling"].detail


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_model_offload(tries: Tries, pipeline: str) -> None:
    tries(pipeline, offload="model")


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_group_offload_by_block(tries: Tries, pipeline: str) -> None:
    tries(pipeline, offload="group-block")


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_group_offload_by_leaf(tries: Tries, pipeline: str) -> None:
    tries(pipeline, offload="group-leaf")


@pytest.mark.parametrize("pipeline", ["flux", "wan"])
def test_partial_residency(tries: Tries, pipeline: str) -> None:
    tries(pipeline, offload="partial-50")


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_staged(tries: Tries, pipeline: str) -> None:
    tries(pipeline, offload="staged")


def test_channels_last(tries: Tries) -> None:
    tries("sd15", channels_last="denoiser+vae")


def test_tracing_and_its_save_and_load(tries: Tries) -> None:
    before = set(prepared_folder().glob("trace-*.pt"))
    tries("sd15", compile="jit-trace")
    (kept,) = set(prepared_folder().glob("trace-*.pt")) - before
    changed = kept.stat().st_mtime_ns
    tries("sd15", compile="jit-trace")
    assert kept.stat().st_mtime_ns == changed, "the second trial traced again"


def test_memory_efficient_attention_without_a_gpu(tries: Tries) -> None:
    """A slice at a time on a UNet, a fused kernel on a transformer; xformers needs a GPU."""
    tries("sd15", attention_slicing="max")
    tries("flux", attention="native-flash")


@pytest.mark.parametrize("pipeline", ["sd15", "flux", "wan"])
def test_bitsandbytes_4_bit_through_a_pipeline_config(tries: Tries, pipeline: str) -> None:
    outcome = tries(pipeline, quantize_text_encoder="bnb-nf4")
    assert "bitsandbytes nf4" in outcome.engaged["quantize-text-encoder"].detail


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pipeline", ["flux", "wan"] if ALL else ["flux"])
def test_compile_after_quantization(tries: Tries, pipeline: str) -> None:
    tries(pipeline, compile="regional", quantize_denoiser="torchao-int8wo")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("pipeline", ["flux", "wan"] if ALL else ["wan"])
def test_compile_and_quantization_and_offload(tries: Tries, pipeline: str) -> None:
    tries(
        pipeline,
        compile="regional",
        quantize_denoiser="torchao-int8wo",
        offload="group-leaf",
    )
