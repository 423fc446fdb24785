"""What the campaign runs: candidates of each model in order of worth, and budgets."""

from __future__ import annotations

from collections.abc import Mapping

#: What a model with random weights is made as where there is no card.
TINY = {"height": 64, "width": 64, "steps": 4}
_NF4 = {"quantize-denoiser": "bnb-nf4", "quantize-text-encoder": "bnb-nf4"}
_REGIONAL = {"compile": "regional"}
#: Candidates in order of worth: what is documented, then what should be faster or smaller.
ROWS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "flux": {
        "bf16": {},
        "nf4": _NF4,
        "nf4, compiled, model offload": {**_NF4, **_REGIONAL, "offload": "model"},
        "bf16, compiled": _REGIONAL,
        "fp8 products, compiled": {"quantize-denoiser": "torchao-fp8dq", **_REGIONAL},
        "nf4, compiled": {**_NF4, **_REGIONAL},
        "nf4, staged": {**_NF4, "offload": "staged"},
        "nf4, compiled, staged": {**_NF4, **_REGIONAL, "offload": "staged"},
        "int8 products, compiled": {"quantize-denoiser": "torchao-int8dq", **_REGIONAL},
        "fp8 storage, staged": {"layerwise-casting": "fp8-e4m3", "offload": "staged"},
        "leaf by leaf, streamed": {"offload": "group-leaf-stream"},
        "model offload": {"offload": "model"},
        "cuDNN attention": {"attention": "native-cudnn"},
        "xformers": {"attention": "xformers"},
        "tiles": {"vae-tiling": "half"},
        "bf16, compiled whole": {"compile": "full"},
    },
    "sd15": {
        "fp32": {"dtype": "fp32"},
        "fp16": {"dtype": "fp16"},
        "fp16, channels last": {"dtype": "fp16", "channels-last": "denoiser"},
        "traced": {"dtype": "fp16", "channels-last": "denoiser", "compile": "jit-trace"},
        "xformers": {"dtype": "fp16", "channels-last": "denoiser", "attention": "xformers"},
        "compiled": {"dtype": "fp16", "compile": "full"},
    },
    "sdxl": {"fp16": {"dtype": "fp16"}, "compiled": {"dtype": "fp16", "compile": "full"}},
    "wan-1.3b": {
        "bf16": {},
        "compiled": _REGIONAL,
        "block by block, streamed": {"offload": "group-block-stream"},
    },
}
#: Budgets that are searched, and for how long.
BUDGETS: Mapping[str, tuple[str, ...]] = {
    "flux": ("12.24GB", "24GB", "8GB", "70GB", "16GB", "10GB", "12GB"),
    "sd15": ("24GB",),
    "sdxl": ("12GB",),
    "wan-1.3b": ("8GB",),
}
