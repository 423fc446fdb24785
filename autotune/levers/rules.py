"""Which choices exclude each other: one table, symmetric by construction.

``Bn`` in a citation is a row of the conflict table the levers were built from; each such row is
either here, or a reason why a choice is unavailable, or a check that it engaged (a test holds it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.levers.rule import Rule, make_rule
from autotune.records import Candidate, DeviceKind

RULES: Sequence[Rule] = (
    # ------------------------------------------------------------------------ number formats
    make_rule(
        "flux-fp16",
        "dtype=fp16",
        families="flux",
        reason="Flux.1 overflows in fp16: NaN in the latents, black pictures",
        cite="huggingface/diffusers#9096, InvokeAI#7213",
    ),
    make_rule(
        "precision-needs-fp32",
        "matmul-precision=!highest",
        "dtype=!fp32",
        "vae-dtype=!fp32",
        reason="it changes products of fp32 matrices only, and nothing here is computed in fp32",
        cite="torch.set_float32_matmul_precision",
    ),
    # ----------------------------------------------------------------------------- placement
    make_rule(
        "disk-channels-last",
        "offload=group-disk",
        "channels-last=denoiser|denoiser+vae",
        reason="weights are written to the disk in the usual layout only",
        cite="diffusers 0.42.1 group_offloading (_offload_to_disk), safetensors.torch.save_file",
    ),
    # -------------------------------------------------------------------------- quantization
    make_rule(
        "checkpoint-or-quantize",
        "checkpoint=!own",
        "quantize-denoiser=!none",
        reason="the file is quantized already, and goes into the pipeline as it is",
        cite="diffusers 0.42.1 pipeline_utils (passed components are not loaded)",
    ),
    make_rule(
        "gguf-sequential",
        "checkpoint=gguf",
        "offload=sequential",
        reason="sequential offload rebuilds weights without their GGUF type",
        cite="huggingface/diffusers#14691 (open); B27",
    ),
    make_rule(
        "checkpoint-fuse",
        "checkpoint=!own",
        "fuse-qkv=on",
        reason="the packed weights of the file cannot be joined to one matrix",
        cite="diffusers 0.42.1 attention_processor (fuse_projections)",
    ),
    make_rule(
        "checkpoint-casts-leftovers",
        "checkpoint=!own",
        "layerwise-casting=!off",
        reason="the packed weights of the file stay as they are, and rounding the rest saves nothing",
        cite="diffusers 0.42.1 hooks.layerwise_casting",
    ),
    # ------------------------------------------------------------------------------- compile
    # ----------------------------------------------------------------- attention, cache, structure
    make_rule(
        "gpu-kernels-need-half",
        "dtype=fp32",
        "attention=native-flash|native-cudnn|flash*|sage*|aiter-hub",
        devices=("cuda", "rocm"),
        reason="on a GPU this attention kernel takes bf16 and fp16 only",
        cite="diffusers attention_dispatch; B78",
    ),
    make_rule(
        "aiter-needs-bf16",
        "dtype=fp16",
        "attention=aiter-hub",
        reason="AMD's kernel refuses fp16 with an error that says nothing",
        cite="diffusers 0.42.1 attention_dispatch (_aiter_flash_attention)",
    ),
    make_rule(
        "slicing-replaces-attention",
        "attention=!native",
        "attention-slicing=!off",
        reason="sliced attention brings its own processor, a backend set beside it is ignored",
        cite="diffusers 0.42.1; B80",
        package="diffusers>=0.36",
    ),
    make_rule(
        "slicing-undoes-fusion",
        "fuse-qkv=on",
        "attention-slicing=!off",
        reason="sliced attention brings its own processor, which goes round the fused projections",
        cite="diffusers 0.42.1 attention_processor (SlicedAttnProcessor)",
    ),
    make_rule(
        "masked-flash",
        "attention=native-flash|flash|flash-3|flash-hub|flash-3-hub|flash-4-hub"
        "|sage|sage-hub|sage-blackwell-hub|sage-int8-*|aiter-hub|native-xla",
        families="hunyuan-video hunyuan-image chroma ltx",
        reason="this kernel refuses the padding mask of this family",
        cite="diffusers attention_dispatch; B76",
    ),
    make_rule(
        "float-mask-varlen",
        "attention=*-varlen*",
        families="chroma ltx",
        reason="kernels that leave padding out want a mask of bits, this family has one of numbers",
        cite="diffusers 0.42.1 attention_dispatch (_normalize_attn_mask)",
    ),
    make_rule(
        "sage-on-qwen-wan",
        "attention=sage*",
        families="qwen-image wan",
        reason="8-bit attention gives black or noisy pictures with this family",
        cite="woct0rdho/SageAttention#33, Comfy-Org/ComfyUI#9773; B77",
    ),
    make_rule(
        "flux2-first-block",
        "cache=first-block-*",
        families="flux2",
        reason="the cache takes the pair of streams of a Flux.2 block for one tensor: TypeError",
        cite="huggingface/diffusers#14280; B85",
        package="diffusers<=0.42.1",
    ),
)


def broken_rule(
    candidate: Candidate,
    *,
    device: DeviceKind,
    family: str | None,
    software: Mapping[str, str],
) -> Rule | None:
    """The first rule that excludes the candidate, or ``None``."""
    for rule in RULES:
        if rule.forbids(candidate, device=device, family=family, software=software):
            return rule
    return None
