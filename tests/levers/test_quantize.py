"""Quantized components: what shows that they are, and what they take. Real tiny pipelines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.levers import load_levers
from autotune.levers.base import Target
from autotune.levers.mechanisms.quantizers import QUANTIZERS
from autotune.levers.mechanisms.quanto_unpacking import unpack
from autotune.models.structure import Structure
from autotune.records import Evidence, Model
from autotune.trial import generate, output
from tests.levers.built import planned, with_twin
from tests.trial.bench import CPU, SMALL, fitted, tiny_model

pytestmark = pytest.mark.trials


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def built(model: Model | str, **choices: str) -> Target:
    """The tiny pipeline with these choices, levers by their module's name."""
    record = tiny_model(model) if isinstance(model, str) else model
    workload = fitted(record.family or "", SMALL)
    target = Target(model=record, device=CPU, workload=workload)
    named = {name.replace("_", "-"): choice for name, choice in choices.items()}
    generate.build_pipeline(target, {"dtype": "bf16"} | named)
    return target


def evidence(target: Target, lever: str, choice: str) -> Evidence:
    return load_levers()[lever].engaged(target, choice)


def test_the_share_that_was_converted_is_told() -> None:
    target = built("flux", quantize_denoiser="torchao-int8wo", quantize_text_encoder="bnb-nf4")
    assert evidence(target, "quantize-denoiser", "torchao-int8wo") == Evidence(
        engaged=True, detail="transformer: 30 of 30 Linears are torchao Int8Tensor"
    )
    # transformers keeps the last projection of a T5 block as it is.
    assert evidence(target, "quantize-text-encoder", "bnb-nf4") == Evidence(
        engaged=True, detail="text_encoder_2: 12 of 14 Linears are bitsandbytes nf4"
    )
    assert evidence(target, "quantize-vae", "none") == Evidence(
        engaged=True, detail="vae: 0 of 8 Linears are quantized"
    )


def test_linears_that_were_left_alone_are_counted() -> None:
    """SDNQ leaves small layers and those that a class names, and says nothing."""
    import diffusers
    import torch

    target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL)
    load_levers()["quantize-denoiser"].apply(target, "sdnq-int8")
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=64,
        num_attention_heads=2,
        joint_attention_dim=64,
        pooled_projection_dim=32,
        axes_dims_rope=(8, 28, 28),
    )
    found = quantized(transformer, target.quantization["transformer"])
    target.pipe = SimpleNamespace(transformer=found)
    linears = [one for one in transformer.modules() if isinstance(one, torch.nn.Linear)]
    small = [one for one in linears if one.weight.numel() < QUANTIZERS["sdnq-int8"].least]
    told = evidence(target, "quantize-denoiser", "sdnq-int8")
    assert told.engaged
    converted, _, total, *_ = told.detail.removeprefix("transformer: ").split()
    assert int(total) == len(linears)
    assert 0 < int(converted) <= len(linears) - len(small) < len(linears)
    assert not evidence(target, "quantize-denoiser", "sdnq-int8-matmul").engaged


def quantized(module: Any, config: Any) -> Any:
    """The module, saved and loaded with the configuration."""
    import tempfile

    import torch

    with tempfile.TemporaryDirectory() as folder:
        module.save_pretrained(folder)
        return type(module).from_pretrained(
            folder, quantization_config=config, dtype=torch.bfloat16
        )


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ("none", "torchao-int8wo"),
        ("torchao-int8wo", "none"),
        ("torchao-int8wo", "torchao-int8dq"),
        ("torchao-int8dq", "torchao-int8wo"),
        ("torchao-fp8wo", "torchao-int8wo"),
        ("quanto-int8", "quanto-fp8"),
        ("quanto-int8", "torchao-int8wo"),
    ],
)
def test_one_format_is_not_taken_for_another(taken: str, said: str) -> None:
    target = built("flux", quantize_denoiser=taken)
    assert evidence(target, "quantize-denoiser", taken).engaged
    told = evidence(target, "quantize-denoiser", said)
    assert not told.engaged
    assert "transformer: " in told.detail


def test_weights_that_are_put_back_are_not_quantized_any_more() -> None:
    import torch

    target = built("flux", quantize_denoiser="torchao-int8wo")
    for module in target.denoiser.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight = torch.nn.Parameter(module.weight.dequantize(), requires_grad=False)
    told = evidence(target, "quantize-denoiser", "torchao-int8wo")
    assert told == Evidence(engaged=False, detail="transformer: 0 of 30 Linears are quantized")
    assert evidence(target, "quantize-denoiser", "none").engaged


def test_every_twin_of_the_denoiser_must_be_quantized() -> None:
    model = tiny_model("flux")
    own = model.component("transformer")
    assert own is not None
    twins = model.but(components=(*model.components, own.but(name="transformer_2")))
    target = built("flux", quantize_denoiser="torchao-int8wo")
    plain = built("flux")
    target.model = twins
    target.pipe.transformer_2 = target.pipe.transformer
    assert evidence(target, "quantize-denoiser", "torchao-int8wo").engaged
    target.pipe.__dict__["transformer_2"] = plain.pipe.transformer
    told = evidence(target, "quantize-denoiser", "torchao-int8wo")
    assert not told.engaged
    assert "transformer_2: 0 of 30 Linears are quantized" in told.detail


@pytest.mark.parametrize(
    ("lever", "parts"),
    [
        ("quantize_denoiser", {"transformer", "transformer_2"}),
        ("quantize_text_encoder", {"text_encoder_2"}),
        ("quantize_other_encoders", {"text_encoder"}),
        ("quantize_vae", {"vae"}),
    ],
)
def test_each_lever_plans_its_own_components(lever: str, parts: set[str]) -> None:
    model = with_twin(tiny_model("flux"))
    assert planned(model, **{lever: "none"}) == planned(model)
    for id in QUANTIZERS:
        found = planned(model, **{lever: id}).parts
        assert {name for name, part in found.items() if part.quantizer == id} == parts
        assert {part.quantizer for name, part in found.items() if name not in parts} == {None}


def test_what_a_lever_plans_is_what_it_quantizes() -> None:
    for lever in ("denoiser", "text_encoder", "other_encoders", "vae"):
        choices = {f"quantize_{lever}": "torchao-int8wo"}
        target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL)
        load_levers()[f"quantize-{lever}".replace("_", "-")].apply(target, "torchao-int8wo")
        parts = planned("flux", **choices).parts
        assert target.quantization.keys() == {
            name for name, part in parts.items() if part.quantizer
        }


def test_without_a_component_there_is_nothing_to_plan() -> None:
    model = tiny_model("flux")
    bare = model.but(components=(model.component("transformer"),))
    for lever in ("quantize_text_encoder", "quantize_other_encoders", "quantize_vae"):
        assert planned(bare, **{lever: "torchao-int8wo"}) == planned(bare)


# --------------------------------------------------------------------- weights stored quantized


def test_a_component_that_is_stored_quantized_stays_as_it_is(tmp_path: Path) -> None:
    stored = built("flux", quantize_text_encoder="torchao-int8wo")
    folder = Path(shutil.copytree(tiny_model("flux").folder, tmp_path / "flux"))
    shutil.rmtree(folder / "text_encoder_2")
    stored.pipe.text_encoder_2.save_pretrained(folder / "text_encoder_2")
    config = json.loads((folder / "text_encoder_2" / "config.json").read_text())
    assert "quantization_config" in config
    model = tiny_model("flux").but(folder=str(folder))
    found = load_levers()["quantize-text-encoder"].choices(CPU, Structure(model, SMALL))
    reasons = {choice.id: choice.unavailable for choice in found}
    assert reasons["none"] is None
    assert (
        reasons["torchao-int8wo"] == "the weights of text_encoder_2 are stored quantized already"
    )
    told = evidence(built(model), "quantize-text-encoder", "none")
    assert told == Evidence(
        engaged=True, detail="text_encoder_2: 14 of 14 Linears are torchao Int8Tensor"
    )


# ------------------------------------------------------------------------------ how it is loaded


def test_components_are_quantized_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device is named while loading: the full weights never lie beside the quantized ones."""
    import diffusers

    seen: dict[str, Any] = {}
    load = diffusers.FluxPipeline.from_pretrained.__func__

    def watched(kind: Any, *args: Any, **arguments: Any) -> Any:
        seen.update(arguments)
        return load(kind, *args, **arguments)

    monkeypatch.setattr(diffusers.FluxPipeline, "from_pretrained", classmethod(watched))
    built("flux", quantize_denoiser="torchao-int8wo", quantize_vae="quanto-int8")
    assert "device_map" not in seen
    mapping = seen["quantization_config"].quant_mapping
    assert set(mapping) == {"transformer", "vae"}


def test_what_a_lever_loaded_itself_is_not_loaded_again() -> None:
    own = built("flux").pipe.transformer
    target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL)
    target.load_arguments["transformer"] = own
    generate.build_pipeline(target, {"quantize-denoiser": "torchao-int8wo"})
    assert target.denoiser is own
    assert not evidence(target, "quantize-denoiser", "torchao-int8wo").engaged


def test_a_torchao_candidate_compiles_the_same_way_wherever_its_weights_come_from() -> None:
    """Quantizing sets the compiler's options, loading kept weights does not."""
    import torch._inductor.config as inductor

    inductor.force_fuse_int_mm_with_mul = False
    try:
        target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL)
        load_levers()["quantize-denoiser"].apply(target, "quanto-int8")
        assert not inductor.force_fuse_int_mm_with_mul
        load_levers()["quantize-denoiser"].apply(target, "torchao-int8dq")
        assert inductor.force_fuse_int_mm_with_mul
    finally:
        inductor.force_fuse_int_mm_with_mul = False


def test_a_traced_unet_computes_with_its_quantized_weights() -> None:
    pictures = [
        picture(built("sd15", quantize_denoiser="torchao-int8wo", compile=how))
        for how in ("none", "jit-trace")
    ]
    assert float((pictures[0] - pictures[1]).abs().max()) < 0.02  # of bf16, seen: 0
    plain = picture(built("sd15"))
    assert float((plain - pictures[1]).abs().mean()) > 0


def picture(target: Target) -> Any:
    call = generate.caller(target.pipe, target.workload, target.multiple)
    call(0)
    return output.picture_of(call(0)).float()


def test_four_bits_come_out_of_their_bytes_without_a_compiler() -> None:
    import torch
    from optimum.quanto.tensor.packed import PackedTensor

    from autotune.levers.mechanisms.quanto_unpacking import unpack_without_extension

    unpack_without_extension()
    for bits in (4, 2):
        numbers = torch.randint(0, 1 << bits, (12, 8), dtype=torch.uint8)
        packed = PackedTensor.pack(numbers, bits)
        assert packed.unpack().equal(numbers)
        assert unpack(packed._data, bits)[: len(numbers)].equal(numbers)
        assert packed._data.numel() * 8 == numbers.numel() * bits
