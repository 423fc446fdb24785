"""Which choices exclude each other: one table, symmetric by construction.

``Bn`` in a citation is a row of the conflict table the levers were built from; each such row is
either here, or a reason why a choice is unavailable, or a check that it engaged (a test holds it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autotune.levers.rule import Rule, make_rule
from autotune.records import Candidate, DeviceKind

#: The levers that quantize; the VAE, last, is never offloaded in groups.
QUANTIZE = (
    *("quantize-denoiser", "quantize-text-encoder", "quantize-other-encoders"),
    "quantize-vae",
)
#: What a CPU does not show.
GPUS: tuple[DeviceKind, ...] = ("cuda", "rocm", "xpu")

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
        reason="the packed weights stay as they are, only what the file left whole is rounded",
        cite="diffusers 0.42.1 hooks.layerwise_casting",
    ),
    make_rule(
        "checkpoint-trace",
        "checkpoint=!own",
        "compile=jit-trace",
        reason="a trace knows plain tensors only, and loses what unpacks the weights",
        cite="torch 2.13 torch.jit.trace (internal assertion with GGUF weights)",
    ),
    *(
        make_rule(
            f"{lever}-sequential",
            f"{lever}=bnb-*|quanto-*|torchao-*",
            "offload=sequential",
            reason="layer by layer, weights are rebuilt without what was packed beside them",
            cite="huggingface/diffusers#10800, #10526, accelerate#3085; B25, B26, B31",
        )
        for lever in QUANTIZE
    ),
    *(
        make_rule(
            f"{lever}-quanto-groups",
            f"{lever}=quanto-*",
            "offload=group-*|partial-*",
            devices=GPUS,
            reason="group offload leaves quanto's weights on the host, and their products fail",
            cite="huggingface/diffusers#12610 (open); B28",
            package="diffusers<=0.42.1",
        )
        for lever in QUANTIZE[:3]
    ),
    *(
        make_rule(
            f"{lever}-torchao-stream",
            f"{lever}=torchao-*",
            "offload=group-block-stream|group-leaf-stream*|partial-*",
            devices=GPUS,
            reason="torchao's weights and the stream that copies them end up on two devices",
            cite="huggingface/diffusers#13281, #14433 (open), pytorch/ao#4192; B30",
            package="diffusers<=0.42.1",
        )
        for lever in QUANTIZE[:3]
    ),
    *(
        make_rule(
            f"{lever}-torchao-moves-compiled",
            f"{lever}=torchao-*",
            "offload=model|staged",
            compiled,
            devices=GPUS,
            reason="a compiled module with torchao's weights cannot move to another device",
            cite="huggingface/diffusers#12704, pytorch/ao#3632; B32",
        )
        for lever, compiled in (
            ("quantize-denoiser", "compile=!none|jit-trace"),
            ("quantize-vae", "compile-vae=on"),
        )
    ),
    make_rule(
        "disk-quantized",
        "quantize-denoiser=bnb-*|quanto-*|torchao-*",
        "offload=group-disk",
        reason="the files on the disk do not hold what is packed inside and beside the weights",
        cite="huggingface/diffusers#13721, diffusers 0.42.1 group_offloading; B17",
    ),
    make_rule(
        "fuse-quantized",
        "quantize-denoiser=!none|quanto-*|torchao-fp8*",
        "fuse-qkv=on",
        reason="packed weights cannot be joined to one matrix",
        cite="diffusers 0.42.1 attention_processor (fuse_projections); B33",
    ),
    make_rule(
        "fuse-fp8",
        "quantize-denoiser=torchao-fp8*",
        "fuse-qkv=on",
        besides="wan",
        reason="packed 8-bit floats cannot be joined to one matrix",
        cite="diffusers 0.42.1 attention_processor (fuse_projections); B33",
    ),
    make_rule(
        "layerwise-quantized",
        "quantize-denoiser=!none|torchao-*",
        "layerwise-casting=!off",
        reason="quantized weights are cast too, and cannot be",
        cite="diffusers 0.42.1 hooks.layerwise_casting; B34, B35",
    ),
    make_rule(
        "layerwise-torchao",
        "quantize-denoiser=torchao-*",
        "layerwise-casting=!off",
        # Two thirds of its UNet are convolutions, which torchao leaves alone.
        besides="sd15",
        reason="quantized weights stay as they are, and rounding the rest saves nothing",
        cite="diffusers 0.42.1 hooks.layerwise_casting; B35",
    ),
    make_rule(
        "quanto-int4-fp32-parts",
        "quantize-denoiser=quanto-int4",
        "dtype=!fp32",
        families="wan",
        reason="its time embedding computes in fp32 whatever is asked, quanto's 4-bit Linears not",
        cite="optimum-quanto 0.2.7; WanTransformer3DModel._keep_in_fp32_modules (seen on a CPU)",
    ),
    *(
        make_rule(
            f"{lever}-quanto-int4-compiled",
            f"{lever}=quanto-int4",
            compiled,
            "dtype=bf16",
            reason="compiled, quanto's 4-bit products meet fp32 where they expect bf16",
            cite="optimum-quanto 0.2.7; B69",
        )
        for lever, compiled in (
            ("quantize-denoiser", "compile=!none|jit-trace"),
            ("quantize-vae", "compile-vae=on"),
        )
    ),
    make_rule(
        "vae-dtype-quantized",
        "quantize-vae=!none",
        "vae-dtype=!same",
        reason="diffusers refuses to cast a quantized model",
        cite="diffusers 0.42.1 ModelMixin.to; B22",
    ),
    *(
        make_rule(
            f"{lever}-needs-bf16",
            f"{lever}=torchao-int4wo|torchao-fp8dq",
            "dtype=!bf16",
            reason="torchao packs 4-bit tiles and scales by row from bf16 weights only",
            cite="torchao 0.18 quant_api, Int4TilePackedTo4dTensor",
        )
        for lever in QUANTIZE
    ),
    *(
        make_rule(
            f"{lever}-dropped",
            f"{lever}=!none",
            "text-encoders=precomputed",
            reason="encoders that are dropped after one pass gain nothing from being smaller",
            cite="a prompt is encoded once; levers.md A5",
        )
        for lever in QUANTIZE[1:3]
    ),
    *(
        make_rule(
            f"{lever}-on-host",
            f"{lever}=torchao-int4wo",
            "text-encoders=host",
            reason="weights that are packed for the GPU cannot be computed with on the host",
            cite="torchao 0.18 Int4TilePackedTo4dTensor",
        )
        for lever in QUANTIZE[1:3]
    ),
    make_rule(
        "tiny-vae-or-quantize",
        "vae-model=tiny",
        "quantize-vae=!none",
        reason="the tiny VAE that was given goes into the pipeline as it is",
        cite="diffusers 0.42.1 pipeline_utils (passed components are not loaded)",
    ),
    # ------------------------------------------------------------------------------- compile
    make_rule(
        "graphs-need-fixed-weights",
        "compile=full-reduce-overhead|full-max-autotune",
        "offload=!none",
        reason="a CUDA graph replays the addresses it recorded, and offload moves the weights",
        cite="huggingface/diffusers#4399; B52",
    ),
    make_rule(
        "graphs-need-fixed-flow",
        "compile=full-reduce-overhead|full-max-autotune",
        "cache=!none",
        reason="a cache decides each step anew, and keeps outputs that the next replay overwrites",
        cite="xdit-project/xDiT#719, pytorch/pytorch#152887; B54",
    ),
    make_rule(
        "magcache-hides-blocks",
        "compile=regional*",
        "cache=magcache-*",
        reason="MagCache keeps the compiler out of every block, so that no block is compiled",
        cite="diffusers 0.42.1 hooks.mag_cache (run: 0 graphs); B59",
        package="diffusers>=0.36",
    ),
    make_rule(
        "dynamic-concatenated-streams",
        "compile=regional-dynamic",
        families="flux",
        reason="inductor cannot split sizes that are joined in the single blocks: CantSplit",
        cite="unslothai/unsloth#10730 (torch 2.12.1; not so on 2.13, run on a CPU); B64",
        package="torch>=2.12,<2.13",
    ),
    make_rule(
        "trace-freezes-offload",
        "compile=jit-trace",
        "offload=!none",
        reason="a trace replays what it recorded, without the hooks that bring the weights",
        cite="torch.jit.trace (run); B90",
    ),
    make_rule(
        "trace-freezes-cache",
        "compile=jit-trace",
        "cache=!none",
        reason="a trace replays the whole step, and never what the cache would skip",
        cite="torch.jit.trace (run); B90",
    ),
    make_rule(
        "trace-freezes-casting",
        "compile=jit-trace",
        "layerwise-casting=!off",
        reason="a trace replays without the hooks that cast the weights: formats do not match",
        cite="torch.jit.trace (run); B90",
    ),
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
        "trace-hides-fusion",
        "fuse-qkv=on",
        "compile=jit-trace",
        reason="a trace calls no modules, so nothing shows whether it fuses what it replays",
        cite="torch.jit.trace",
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
        reason="kernels that leave padding out want a mask of bits, this one has numbers",
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
