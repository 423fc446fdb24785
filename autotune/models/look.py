"""Say what kind of checkpoint lies at a path, from headers and configurations alone."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from autotune.errors import BadInput, shorten
from autotune.models.gguf import MAGIC, read_gguf
from autotune.models.index import INDEX, read_config
from autotune.models.pin import pin, pin_file
from autotune.models.weights import read_tensors, read_weights

Kind = Literal["gguf", "svdquant", "bfl", "auto-round", "tiny-vae"]

FORMS = (
    "a checkpoint is a GGUF file, an fp8 or nvfp4 file of Black Forest Labs, a folder quantized "
    "with SVDQuant (Nunchaku Lite) or AutoRound, or a tiny VAE's folder"
)
_TINY_VAE = "AutoencoderTiny"
#: What ``quant_method`` is in the config.json of a folder, and how we call it.
_METHODS: Mapping[str, Kind] = {"nunchaku_lite": "svdquant", "auto-round": "auto-round"}
_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
#: A zip archive is what torch.save writes; a pickle of protocol 2 or later begins with 0x80.
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80")
#: Formats that are cast to 16 bits where the whole pipeline is, and how many bytes that are.
_CAST, _HALF_BYTES = ("fp32", "F32", "fp64"), 2


@dataclass(frozen=True, kw_only=True)
class Found:
    """What lies at a path: enough to say which component of which model it can stand for."""

    kind: Kind
    path: Path
    digest: str
    numbers: int
    weight_bytes: int
    formats: tuple[str, ...]
    class_name: str | None = None
    latent_channels: int | None = None
    scale: int | None = None


def look(path: str | Path) -> Found:
    """Say what lies at a path, from headers and configurations alone.

    Raises:
        BadInput: If there is nothing there that autotune can use, or it is truncated.
    """
    place = _absolute(str(path))
    try:
        mode = os.stat(place).st_mode
        if stat.S_ISDIR(mode):
            return _folder(place)
        if not stat.S_ISREG(mode):
            raise BadInput(f"{shorten(place.name)} is neither a file nor a folder", hint=FORMS)
        return _file(place)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise BadInput(
            f"the checkpoint {shorten(str(path))} cannot be read: {why.lower()}", hint=FORMS
        ) from None


def _absolute(text: str) -> Path:
    if not text or not text.isprintable():
        raise BadInput(f"{shorten(text)} is not a path", hint=FORMS)
    if text == "~" or text.startswith("~/"):
        text = str(Path.home() / text[2:])
    # Not resolved: in the hub's cache a file is a link to one whose name says nothing.
    return Path(text).absolute()


def _file(path: Path) -> Found:
    name = shorten(path.name)
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(MAGIC) or path.suffix == ".gguf":
        return _gguf(path)
    # First: its own first bytes are a length, which may look like a pickle's.
    if path.suffix == ".safetensors":
        return _single_file(path)
    if path.suffix in _PICKLED or head.startswith(_PICKLE_MAGIC):
        raise BadInput(
            f"{name} holds pickled weights, and loading a pickle can run any code", hint=FORMS
        )
    raise BadInput(f"{name} is no checkpoint that can be given", hint=FORMS)


def _gguf(path: Path) -> Found:
    name = shorten(path.name)
    tensors = read_gguf(path, what=name)
    if path.suffix != ".gguf":
        raise BadInput(
            f"{name} is a GGUF file, and diffusers reads it only if its name ends in .gguf",
            hint="rename it",
        )
    return Found(
        kind="gguf",
        path=path,
        digest=pin_file(path),
        numbers=sum(tensor.numbers for tensor in tensors),
        weight_bytes=_least((tensor.type, tensor.numbers, tensor.bytes) for tensor in tensors),
        formats=_formats((tensor.type, tensor.bytes) for tensor in tensors),
    )


def _single_file(path: Path) -> Found:
    """The layout that diffusers' BFLQuantizationConfig describes."""
    name = shorten(path.name)
    tensors = read_tensors(path, what=name)
    if any(key.endswith((".smooth_factor", ".wscales")) for key in tensors):
        raise BadInput(
            f"{name} is a file of the nunchaku package, which diffusers does not load",
            hint="give the folder of a Nunchaku Lite checkpoint",
        )
    scales = [key for key in tensors if key.endswith(".weight_scale")]
    weights = {tensors[f"{key[:-6]}"][0] for key in scales if key[:-6] in tensors}
    if not scales or not weights <= {"fp8", "uint8"}:
        raise BadInput(
            f"{name} holds ordinary weights",
            hint=f"name the whole model with --model; {FORMS}",
        )
    return Found(
        kind="bfl",
        path=path,
        digest=pin_file(path),
        numbers=sum(count for _, count, _ in tensors.values()),
        weight_bytes=_least(tensors.values()),
        formats=tuple(sorted({"fp8": "fp8", "uint8": "nvfp4"}[one] for one in weights)),
    )


def _folder(path: Path) -> Found:
    name = shorten(path.name)
    if not (path / "config.json").is_file():
        if (path / INDEX).is_file():
            raise BadInput(
                f"{name} is a whole pipeline, not one component",
                hint="name the folder of the component inside it",
            )
        raise BadInput(f"the folder {name} holds no config.json", hint=FORMS)
    config = read_config(path / "config.json", what=f"{name}/config.json")
    kind = _kind_of_folder(config, name)
    weights = read_weights(path, component=path.name, library="diffusers")
    if weights is None:
        raise BadInput(f"the folder {name} holds no weights", hint=FORMS)
    tensors = [
        tensor
        for file in weights.files
        if not file.endswith(".json")
        for tensor in read_tensors(path / file, what=f"{path.name}/{file}").values()
    ]
    return Found(
        kind=kind,
        path=path,
        digest=pin(path, ["config.json", *weights.files]),
        numbers=weights.parameters,
        weight_bytes=_least(tensors),
        formats=_precisions(config) or _formats((type, size) for type, _, size in tensors),
        class_name=str(config.get("_class_name")),
        **latents(config) if kind == "tiny-vae" else {},
    )


def _kind_of_folder(config: Mapping[str, object], name: str) -> Kind:
    if config.get("_class_name") == _TINY_VAE:
        return "tiny-vae"
    quantized = config.get("quantization_config")
    if not isinstance(quantized, dict):
        raise BadInput(
            f"the folder {name} holds ordinary weights of {shorten(config.get('_class_name'))}",
            hint=f"name the whole model with --model; {FORMS}",
        )
    method = quantized.get("quant_method")
    if not isinstance(method, str) or method not in _METHODS:
        raise BadInput(
            f"the folder {name} is quantized with {shorten(method)}, which is not taken as a file",
            hint=f"autotune quantizes by itself (quantize-denoiser); {FORMS}",
        )
    return _METHODS[method]


def _precisions(config: Mapping[str, object]) -> tuple[str, ...]:
    """What Nunchaku Lite says of its formats: int4 runs on other cards than nvfp4."""
    quantized = config.get("quantization_config")
    parts = quantized.values() if isinstance(quantized, dict) else ()
    named = {part["precision"] for part in parts if isinstance(part, dict) and "precision" in part}
    return tuple(sorted(one for one in named if isinstance(one, str)))


def latents(config: Mapping[str, object]) -> dict[str, int]:
    """A VAE's latent channels, and how many pixels wide a latent pixel is."""
    channels = config.get("latent_channels")
    blocks = config.get("decoder_block_out_channels", config.get("block_out_channels"))
    scale = 2 ** (len(blocks) - 1) if isinstance(blocks, list) and 0 < len(blocks) < 16 else 8
    return {"latent_channels": channels if type(channels) is int else 4, "scale": scale}


def _least(tensors: Iterable[tuple[str, int, int]]) -> int:
    """Bytes in memory at the least: what is no quantized weight may be cast to 16 bits."""
    return sum(count * _HALF_BYTES if type in _CAST else size for type, count, size in tensors)


def _formats(sizes: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    bytes_ = Counter[str]()
    for type, size in sizes:
        bytes_[type] += size
    return tuple(type for type, _ in bytes_.most_common())
