"""Writes what a user may give in place of a component's weights, made from a tiny model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autotune.models.given import give, look_at
from autotune.records import Model


def with_checkpoints(model: Model, **paths: Path) -> Model:
    """The model with files given to its components."""
    return give(model, look_at(paths))


def write_gguf(path: Path, component: Path, type: str, *, leave_out: str = "") -> Path:
    """The component's weights as a GGUF file, its matrices quantized where blocks fit."""
    import gguf

    quant = getattr(gguf.GGMLQuantizationType, type)
    block, _ = gguf.GGML_QUANT_SIZES[quant]
    writer = gguf.GGUFWriter(path, "diffusion")
    for name, tensor in own_weights(component).items():
        if name == leave_out:
            continue
        values = tensor.float().numpy()
        if values.ndim == 2 and values.shape[1] % block == 0:
            writer.add_tensor(name, gguf.quantize(values, quant), raw_dtype=quant)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_bfl(path: Path, component: Path, layout: str) -> Path:
    """The component's weights as Black Forest Labs write them, by diffusers' own functions."""
    from diffusers.quantizers.bfl.utils import quantize_fp8r, quantize_nvfp4

    def fp8(tensor: Any) -> dict[str, Any]:
        return dict(zip(("weight", "weight_scale"), quantize_fp8r(tensor), strict=True))

    def nvfp4(tensor: Any) -> dict[str, Any]:
        import torch

        names = ("weight", "weight_scale", "weight_scale_2")
        packed = dict(zip(names, quantize_nvfp4(tensor), strict=True))
        return packed | {"input_scale": torch.tensor(1.0)}

    return _write_packed(path, component, {"fp8": fp8, "nvfp4": nvfp4}[layout])


def _write_packed(path: Path, component: Path, pack: Callable[[Any], Mapping[str, Any]]) -> Path:
    from safetensors.torch import save_file

    tensors = {}
    for name, tensor in own_weights(component).items():
        if name.endswith(".weight") and tensor.ndim == 2 and tensor.shape[1] % 16 == 0:
            prefix = name.removesuffix("weight")
            tensors |= {prefix + key: one.contiguous() for key, one in pack(tensor).items()}
        else:
            tensors[name] = tensor
    save_file(tensors, path)
    return path


def write_tiny_vae(folder: Path, *, latent_channels: int = 4, blocks: int = 4) -> Path:
    """An AutoencoderTiny with random weights."""
    import diffusers
    import torch

    torch.manual_seed(0)
    vae = diffusers.AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=(8,) * blocks,
        decoder_block_out_channels=(8,) * blocks,
        num_encoder_blocks=(1,) * blocks,
        num_decoder_blocks=(1,) * blocks,
    )
    vae.save_pretrained(folder, safe_serialization=True)
    return folder


def own_weights(component: Path) -> Mapping[str, Any]:
    """The weights of a component's folder by name."""
    from safetensors.torch import load_file

    return load_file(component / "diffusion_pytorch_model.safetensors")
