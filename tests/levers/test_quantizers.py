"""The quantizers: where each can be had and why not elsewhere, and how it is asked for."""

from __future__ import annotations

import importlib
import inspect
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.levers import load_levers
from autotune.levers.base import Target
from autotune.levers.mechanisms import quantizer_limits
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.models.structure import Structure
from autotune.records import Device
from tests.trial.bench import CPU, SMALL, tiny_model

LEVERS = [name for name in load_levers() if name.startswith("quantize-")]


def card(capability: str | None, kind: Any = "cuda") -> Device:
    return Device(
        kind=kind,
        uuid="u",
        name="n",
        total_bytes=1,
        free_bytes=1,
        compute_capability=capability,
    )


def reasons(lever: str, device: Device, model: str | None = None) -> dict[str, str]:
    """Why choices are not there, by id."""
    view = Structure(tiny_model(model), SMALL) if model else None
    found = load_levers()[lever].choices(device, view)
    return {choice.id: choice.unavailable for choice in found if choice.unavailable}


BNB = {"bnb-nf4", "bnb-fp4", "bnb-int8"}
FP8_PRODUCTS = {"torchao-fp8dq", "torchao-fp8dq-tensor", "modelopt-fp8"}
NOT_ON_AMPERE = FP8_PRODUCTS
NOT_ON_TURING = NOT_ON_AMPERE | {"torchao-int8dq", "torchao-int4wo"}
NOT_ON_CPU = FP8_PRODUCTS | {"torchao-int4wo"}
NOT_ON_MPS = NOT_ON_CPU | {"bnb-int8", "torchao-int8dq", "torchao-fp8wo", "quanto-fp8"}


@pytest.mark.parametrize(
    ("device", "missing"),
    [
        (card("7.5"), NOT_ON_TURING),
        (card("8.0"), NOT_ON_AMPERE),
        # What has the arithmetic still needs the package, which cannot live beside the newest
        # transformers and is therefore not here.
        (card("8.9"), {"modelopt-fp8"}),
        (card("9.0"), {"modelopt-fp8"}),
        (card(None), {"modelopt-fp8"}),
        (card(None, "rocm"), {"torchao-int4wo", "modelopt-fp8"}),
        (card(None, "mps"), NOT_ON_MPS),
        (CPU, NOT_ON_CPU | BNB),
    ],
    ids=str,
)
@pytest.mark.parametrize("lever", ["quantize-denoiser", "quantize-vae"])
def test_a_device_has_what_its_arithmetic_allows(
    lever: str, device: Device, missing: set[str]
) -> None:
    assert set(reasons(lever, device)) == missing


def test_bitsandbytes_is_for_encoders_only_where_there_is_no_gpu() -> None:
    denoiser, encoder = reasons("quantize-denoiser", CPU), reasons("quantize-text-encoder", CPU)
    for id in BNB:
        assert denoiser[id] == "bitsandbytes quantizes diffusers models on a GPU only"
        assert id not in encoder
    assert set(encoder) == NOT_ON_CPU


def test_the_reason_names_what_this_device_is() -> None:
    old = reasons("quantize-denoiser", card("8.6"))
    assert old["torchao-fp8dq"] == (
        "compute capability 8.6 has no fp8 arithmetic (8.9 and later have)"
    )
    assert reasons("quantize-denoiser", CPU)["torchao-int4wo"] == (
        "its kernels need an NVIDIA GPU, this is cpu"
    )
    found = reasons("quantize-denoiser", card("9.0"))["modelopt-fp8"]
    assert found == "the package nvidia-modelopt is not installed"
    assert reasons("quantize-text-encoder", card("9.0"))["modelopt-fp8"] == (
        "transformers knows no nvidia-modelopt"
    )


def test_a_package_that_is_missing_or_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torchao": "0.14.1", "bitsandbytes": "0.47.0", "sdnq": "0.2.8"}

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(quantizer_limits, "version", version)
    found = reasons("quantize-denoiser", card("9.0"))
    assert found["torchao-int8wo"] == "torchao 0.14.1 is installed, diffusers needs >=0.15"
    assert found["bnb-nf4"] == "bitsandbytes 0.47.0 is installed, diffusers needs >=0.48"
    assert found["quanto-int8"] == "the package optimum-quanto is not installed"
    assert "sdnq-int8" not in found


def test_what_does_not_work_here_says_so_in_the_first_line_of_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(config: Any, device: str) -> Any:
        raise OSError("libtorchao was built for another torch.\nSee the manual.")

    monkeypatch.setitem(quantizer_limits._PROBES, "torchao", broken)
    quantizer_limits._try_out.cache_clear()
    try:
        found = reasons("quantize-denoiser", CPU, "flux")
    finally:
        quantizer_limits._try_out.cache_clear()
    assert found["torchao-int8wo"] == (
        "torchao does not work here: OSError: libtorchao was built for another torch"
    )
    assert "quanto-int8" not in found


def test_trying_out_leaves_the_compilers_settings_alone() -> None:
    import torch._inductor.config as inductor

    before = inductor.coordinate_descent_tuning, inductor.force_fuse_int_mm_with_mul
    quantizer_limits._try_out.cache_clear()
    assert "torchao-int8wo" not in reasons("quantize-denoiser", CPU, "flux")
    after = inductor.coordinate_descent_tuning, inductor.force_fuse_int_mm_with_mul
    assert after == before


def test_where_no_linear_would_be_converted_the_reason_says_so() -> None:
    found = reasons("quantize-denoiser", card("9.0"), "wan")
    assert found["torchao-int4wo"] == (
        "no Linear of WanTransformer3DModel has multiples of 128 inputs, others are left alone"
    )
    assert found["sdnq-int8"].startswith("no Linear of WanTransformer3DModel has 16384 weights")
    assert "torchao-fp8dq" not in found
    # One Linear of the tiny Flux has 128 inputs.
    assert "torchao-int4wo" not in reasons("quantize-denoiser", card("9.0"), "flux")
    assert reasons("quantize-vae", CPU, "wan")["torchao-int8wo"] == (
        "AutoencoderKLWan has no Linear to quantize"
    )
    assert set(reasons("quantize-other-encoders", CPU, "sd15").values()) == {
        "the pipeline has no further text encoder"
    }


# ------------------------------------------------------------------------------ how it is asked


def asked(lever: str, choice: str, dtype: str = "bfloat16", model: str = "flux") -> Target:
    import torch

    target = Target(model=tiny_model(model), device=CPU, workload=SMALL)
    target.load_arguments["dtype"] = getattr(torch, dtype)
    load_levers()[lever].apply(target, choice)
    return target


@pytest.mark.parametrize("lever", LEVERS)
@pytest.mark.parametrize("id", [id for id in QUANTIZERS if id != "modelopt-fp8"])
def test_each_component_is_asked_for_in_the_words_of_its_library(lever: str, id: str) -> None:
    from diffusers import PipelineQuantizationConfig

    target = asked(lever, id)
    (name,) = target.quantization
    part = target.model.component(name)
    assert part is not None
    mapping = importlib.import_module(f"{part.library}.quantizers.auto")
    known = mapping.AUTO_QUANTIZATION_CONFIG_MAPPING.values()
    # SDNQ has one class for both, which it makes known to transformers alone.
    assert id.startswith("sdnq") or isinstance(target.quantization[name], tuple(known))
    # It refuses what neither library knows.
    assert PipelineQuantizationConfig(quant_mapping=target.quantization).is_granular


def test_the_components_are_those_of_the_lever() -> None:
    components = {lever: set(asked(lever, "torchao-int8wo").quantization) for lever in LEVERS}
    assert components == {
        "quantize-denoiser": {"transformer"},
        "quantize-text-encoder": {"text_encoder_2"},
        "quantize-other-encoders": {"text_encoder"},
        "quantize-vae": {"vae"},
    }
    assert set(asked("quantize-other-encoders", "bnb-nf4", model="sd3").quantization) == {
        "text_encoder",
        "text_encoder_2",
    }
    assert asked("quantize-denoiser", "none").quantization == {}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("lever", ["quantize-denoiser", "quantize-text-encoder"])
def test_it_computes_in_the_format_that_the_candidate_loads_in(lever: str, dtype: str) -> None:
    import torch

    for kind in ("nf4", "fp4"):
        (config,) = asked(lever, f"bnb-{kind}", dtype).quantization.values()
        assert config.load_in_4bit
        assert config.bnb_4bit_quant_type == kind
        assert config.bnb_4bit_compute_dtype is getattr(torch, dtype)
        assert config.bnb_4bit_use_double_quant is False
    (config,) = asked(lever, "bnb-int8", dtype).quantization.values()
    assert config.load_in_8bit
    assert config.llm_int8_threshold == 6.0


def test_what_only_a_gpu_can_be_asked_for_exists_in_the_libraries() -> None:
    import diffusers
    import torch
    from torchao.quantization import PerRow, PerTensor
    from torchao.quantization.quantize_.workflows import Int4PackingFormat

    def made(id: str) -> Any:
        return QUANTIZERS[id].make("diffusers", torch.bfloat16).quant_type

    four = made("torchao-int4wo")
    assert four.int4_packing_format == Int4PackingFormat.TILE_PACKED_TO_4D
    assert QUANTIZERS["torchao-int4wo"].step == (four.group_size, 1)
    assert made("torchao-fp8dq").granularity == [PerRow(), PerRow()]
    assert made("torchao-fp8dq-tensor").granularity == [PerTensor(), PerTensor()]
    known = inspect.signature(diffusers.NVIDIAModelOptConfig.__init__).parameters
    assert "quant_type" in known
    source = inspect.getsource(diffusers.ModelMixin.from_pretrained)
    assert '"device_map"' in source, "4-bit tiles are packed on the device that it names"


def test_the_tensors_of_a_gpu_have_the_marks_they_are_known_by() -> None:
    """Names of classes that only a GPU can fill, and of what they keep of activations."""
    import torch
    from torchao.quantization import Float8Tensor, Int4TilePackedTo4dTensor, PerRow, PerTensor
    from torchao.quantization.quantize_.workflows import QuantizeTensorToFloat8Kwargs

    from autotune.levers.mechanisms.converted import label

    assert QUANTIZERS["torchao-int4wo"].mark == f"torchao {Int4TilePackedTo4dTensor.__name__}"
    for id, granularity in (("torchao-fp8dq", PerRow()), ("torchao-fp8dq-tensor", PerTensor())):
        weight = Float8Tensor.from_hp(
            torch.randn(32, 32, dtype=torch.bfloat16),
            granularity=granularity,
            act_quant_kwargs=QuantizeTensorToFloat8Kwargs(granularity=granularity),
        )
        linear = torch.nn.Linear(32, 32)
        linear.weight = torch.nn.Parameter(weight, requires_grad=False)
        assert label(linear) == QUANTIZERS[id].mark
    assert label(SimpleNamespace(weight=None)) is None
