"""The versions of what is installed, read from its metadata: nothing is imported."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Final

from autotune.probe.torch_build import torch_build

#: Every distribution whose version can explain a result or a failure.
DISTRIBUTIONS: Final = (
    *("diffusers-autotune", "torch", "diffusers", "transformers", "accelerate", "triton"),
    *("bitsandbytes", "torchao", "xformers", "flash-attn", "sageattention", "kernels"),
    *("safetensors", "tokenizers", "huggingface-hub", "numpy", "pillow"),
    *("optuna", "nvidia-ml-py", "psutil", "pydantic", "ray"),
)


def probe_software() -> dict[str, str]:
    """Versions by distribution name, and of Python; what is not installed is left out.

    The version of torch has its local part (``+cpu``, ``+cu130``): the metadata of wheels from
    PyPI lacks it, so torch's own file is believed first.
    """
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        if version := _version(name):
            found[name] = version
    if "torch" in found and (version := torch_build().get("__version__")):
        found["torch"] = version
    return found


def _version(name: str) -> str | None:
    try:
        # None or KeyError: a folder left behind by an interrupted installation.
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError, OSError, ValueError):
        return None
