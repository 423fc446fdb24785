"""Write a skeleton: ``python -m autotune.models.skeleton.build MODEL FOLDER [--tiny]``.

A folder as `save_pretrained` writes it: configurations of the published model, tokenizers built
here, random weights. What is there already stays; ``model_index.json`` comes last.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.files import write_atomic
from autotune.models.catalog import Entry, find
from autotune.models.demo.build import MARKER
from autotune.models.index import INDEX
from autotune.models.published import Published, parts_of
from autotune.models.skeleton.tokenizer import write_tokenizer
from autotune.models.skeleton.weights import (
    Tensor,
    file_bytes,
    index_of,
    shards_of,
    tensors_of,
    write_file,
)
from autotune.models.weights import STEMS
from autotune.units import format_bytes

#: Where an encoder does not say how much text it takes.
_LONGEST = 4096
_T5_LONGEST = 512

Tell = Callable[[str], None]


def write_skeleton(entry: Entry, folder: Path, *, tiny: bool, tell: Tell) -> None:
    """Write the complete folder, or what is still missing of it."""
    import diffusers

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARKER, marker(entry, tiny=tiny))
    parts = parts_of(entry, tiny=tiny)
    index: dict[str, Any] = {
        "_class_name": entry.pipeline,
        "_diffusers_version": diffusers.__version__,
        **entry.settings,
    }
    for name, part in parts.items():
        index[name] = [part.library, part.class_name]
        for wrote in _write_part(folder / name, part, entry.dtype):
            tell(f"{name}: {wrote}")
    for name in asked_for(entry.pipeline):
        if name.startswith("tokenizer"):
            write_tokenizer(folder / name, longest=longest_text(parts, name))
            index[name] = ["transformers", "PreTrainedTokenizerFast"]
        elif name not in index:
            index[name] = [None, None]
    write_json(folder / INDEX, index)


def marker(entry: Entry, *, tiny: bool) -> dict[str, Any]:
    """What says that a folder's weights are random, and of which model."""
    return {"weights": "random", "model": entry.name, "tiny": tiny}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a small file."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode(), overwrite=True)


def structure_of(part: Published) -> Any:
    """The component on the meta device: every name and shape, no byte of weights."""
    import torch

    kind = _class(part)
    if not issubclass(kind, torch.nn.Module):
        return kind(**part.config)  # a scheduler is nothing but numbers
    with torch.device("meta"):
        if part.library == "transformers":
            return kind(kind.config_class(**part.config))
        return kind(**part.config)


def _write_part(folder: Path, part: Published, dtype: str) -> Iterator[str]:
    import torch

    folder.mkdir(exist_ok=True)
    library, kind = part.library, _class(part)
    if not issubclass(kind, torch.nn.Module):
        kind(**part.config).save_pretrained(folder)
        return
    module = structure_of(part)
    if library == "transformers":
        module.config.save_pretrained(folder)
    else:
        module.save_config(folder)
    shards = shards_of(tensors_of(module), dtype)
    yield from _write_weights(folder, STEMS[library], shards, dtype)


def _write_weights(
    folder: Path, stem: str, shards: list[list[Tensor]], dtype: str
) -> Iterator[str]:
    count = len(shards)
    names = [f"{stem}.safetensors"]
    if count > 1:
        names = [f"{stem}-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    files = dict(zip(names, shards, strict=True))
    for name, tensors in files.items():
        path, size = folder / name, file_bytes(tensors, dtype)
        there = path.is_file() and path.stat().st_size == size
        if not there:
            write_file(path, tensors, dtype)
        yield f"{name}, {format_bytes(size)}{', was there' if there else ''}"
    if count > 1:
        write_json(folder / f"{stem}.safetensors.index.json", index_of(files, dtype))


def _class(part: Published) -> Any:
    return getattr(importlib.import_module(part.library), part.class_name)


def asked_for(pipeline: str) -> list[str]:
    """The components that the pipeline's class is made of."""
    import diffusers

    kind = getattr(diffusers, pipeline)
    asked = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [
        one.name
        for one in asked
        if one.default is one.empty or one.name in kind._optional_components
    ]


def longest_text(parts: Mapping[str, Published], tokenizer: str) -> int:
    """How many tokens the encoder behind a tokenizer takes."""
    encoder = parts[tokenizer.replace("tokenizer", "text_encoder")]
    if "T5" in encoder.class_name:
        return _T5_LONGEST
    return int(encoder.config.get("max_position_embeddings", _LONGEST))


def main(arguments: list[str]) -> int:
    """Write the skeleton; a line of standard output for each file."""
    parser = argparse.ArgumentParser(prog="autotune.models.skeleton.build")
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args(arguments)
    entry = find(asked.model)
    assert entry is not None, "whoever starts this has looked it up"
    write_skeleton(entry, asked.folder, tiny=asked.tiny, tell=lambda text: print(text, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
