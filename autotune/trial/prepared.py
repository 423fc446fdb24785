"""Quantized components that a study keeps, so that each is quantized once and not in every trial.

A copy is made after everything of a trial was measured and its outcome written, in a folder that
gets its name when it is complete. It is used by trials that would make the same one, bit for bit.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import traceback
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from autotune.errors import BadInput
from autotune.files import read_capped, write_atomic
from autotune.levers.base import Target
from autotune.strict_json import parse_json
from autotune.trial.weights import plain_tensors, stored_bytes

_MANIFEST = "kept.json"
_MANIFEST_BYTES = 1 << 20
_HALF = ".half-"
#: What is equal bit for bit when it is loaded again (seen with torchao 0.18, bitsandbytes 0.50.2,
#: sdnq 0.2.8). quanto's is not, and crashes if it is in several files; diffusers rounds the scales
#: of SDNQ to the format it computes in.
_SURVIVES = {
    ("torchao", "diffusers"),
    ("torchao", "transformers"),
    ("bitsandbytes", "diffusers"),
    ("bitsandbytes", "transformers"),
    ("sdnq", "transformers"),
}
#: Packed for the card they are on, and on it alone: on the host, where components are quantized
#: unless a device is named, torchao 0.18 refuses (Int4TilePackedTo4dTensor).
PACKED_ON_DEVICE = ("Int4WeightOnlyConfig",)
#: Never more than one file: bitsandbytes' 4-bit weights and their scales must not be parted.
_ONE_FILE_BYTES = 1 << 50
#: mke2fs keeps 5 % of a disk for root alone, for the same reason; beyond 10 GiB that is a lot.
_RESERVE_SHARE, _MOST_RESERVE_BYTES = 0.05, 10 << 30
_PACKAGES = (
    *("torch", "diffusers", "transformers", "accelerate", "safetensors"),
    *("torchao", "bitsandbytes", "sdnq"),
)
#: Numbers at each end of a tensor that are compared; what replaces a weight replaces all of it.
_TRACE = 32

#: What quantized components of this process were like when they had just been loaded.
_as_loaded: WeakKeyDictionary[Any, Mapping[str, object]] = WeakKeyDictionary()


def restore(target: Target, name: str) -> Any:
    """The component as an earlier trial of the study kept it, or ``None``."""
    folder = _folder(target, name)
    if folder is None or not folder.exists():
        return None
    try:
        if _is_complete(folder, _key(target, name)):
            return load_component(target, name, folder)
    except Exception:
        traceback.print_exc()
    # Whatever is wrong with it, quantizing once more is not.
    shutil.rmtree(folder, ignore_errors=True)
    return None


def load_component(target: Target, name: str, folder: Path, **arguments: Any) -> Any:
    """Load one component of the model's pipeline by itself, in the candidate's number format."""
    part = target.model.component(name)
    assert part is not None
    kind = getattr(importlib.import_module(part.library), part.class_name)
    return kind.from_pretrained(
        folder,
        dtype=number_format(target),
        local_files_only=True,
        use_safetensors=True,
        **arguments,
    )


def number_format(target: Target) -> Any:
    """What the candidate loads in; each library has a default of its own for quantized weights."""
    import torch

    return target.load_arguments.get("dtype", torch.float32)


def remember(target: Target, pipe: Any) -> None:
    """Note what the quantized components are like, before other levers change them."""
    if target.prepared is None:
        return
    for name in target.quantization:
        module = getattr(pipe, name, None)
        folder = _folder(target, name)
        if module is not None and folder is not None and not folder.exists():
            _as_loaded[module] = _trace(module)


def keep(target: Target) -> None:
    """Keep what was quantized. It may take long; what goes wrong is logged and fails nothing."""
    for name in target.quantization if target.prepared and target.pipe else ():
        try:
            _keep(target, name)
        except Exception:
            traceback.print_exc()


def _keep(target: Target, name: str) -> None:
    module: Any = getattr(target.pipe, name, None)
    folder = _folder(target, name)
    # What stands in its place now may be something else, and no module at all.
    loaded = _as_loaded.get(module) if hasattr(module, "save_pretrained") else None
    if folder is None or loaded is None or folder.exists():
        return
    # Other levers may have put other weights into it, or taken them away: offloading to the disk.
    if _trace(module) != loaded:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    for half in folder.parent.glob(f"{_HALF}*"):  # of a trial that was killed
        shutil.rmtree(half, ignore_errors=True)
    if not _has_room(folder.parent, stored_bytes(module)):
        return
    half = Path(tempfile.mkdtemp(prefix=_HALF, dir=folder.parent))
    try:
        module.save_pretrained(half, max_shard_size=_ONE_FILE_BYTES)
        files = {file.name: file.stat().st_size for file in half.iterdir()}
        manifest = {"key": _key(target, name), "files": files}
        write_atomic(half / _MANIFEST, json.dumps(manifest).encode())
        os.rename(half, folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _folder(target: Target, name: str) -> Path | None:
    """Where the component is kept, if it is one that can be."""
    part = target.model.component(name)
    config = target.quantization[name]
    method = str(getattr(config.quant_method, "value", config.quant_method))
    inner = type(getattr(config, "quant_type", None)).__name__
    if target.prepared is None or part is None or inner in PACKED_ON_DEVICE:
        return None
    if (method.partition("_")[0], part.library) not in _SURVIVES:
        return None
    text = json.dumps(_key(target, name), sort_keys=True)
    return target.prepared / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _key(target: Target, name: str) -> dict[str, object]:
    """Everything that decides what the quantized component is."""
    model, part = target.model, target.model.component(name)
    assert part is not None
    return {
        "component": name,
        "class": f"{part.library}.{part.class_name}",
        "model": [model.source, model.id, model.revision, model.weights],
        "configuration": _plain(target.quantization[name].to_dict()),
        "dtype": str(number_format(target)),
        "device": target.device.kind,
        "versions": {package: _version(package) for package in _PACKAGES},
    }


def _plain(value: object) -> object:
    """A configuration as JSON can hold it."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _is_complete(folder: Path, key: Mapping[str, object]) -> bool:
    path = folder / _MANIFEST
    if not path.exists():
        return False
    try:
        manifest = parse_json(read_capped(path, _MANIFEST_BYTES), what=str(path))
        assert isinstance(manifest, dict)
        sizes = {name: (folder / name).stat().st_size for name in manifest["files"]}
        return bool(manifest["key"] == key and manifest["files"] == sizes)
    except (BadInput, AssertionError, LookupError, TypeError, ValueError, OSError):
        return False


def _has_room(folder: Path, size: int) -> bool:
    disk = shutil.disk_usage(folder)
    return disk.free - size > min(_MOST_RESERVE_BYTES, int(disk.total * _RESERVE_SHARE))


def _trace(module: Any) -> dict[str, object]:
    """By tensor: shape, format, and the numbers at both ends; of one without numbers, ``None``."""
    return {name: _ends(tensor) for name, tensor in plain_tensors(module)}


def _ends(tensor: Any) -> object:
    import torch

    if tensor.is_meta:
        return None
    flat = tensor.detach()
    first = last = flat.reshape(1) if flat.dim() == 0 else flat
    while first.dim() > 1 and first.numel():
        first, last = first[0], last[-1]
    ends = torch.cat([first.flatten()[:_TRACE], last.flatten()[-_TRACE:]]).cpu()
    return (*tensor.shape, str(tensor.dtype), ends.view(torch.uint8).numpy().tobytes())
