"""How large a component is, read from the headers of its safetensors files alone.

The format: eight bytes with the length of the header, the header as JSON, then the tensors.
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path

from autotune.errors import BadInput, shorten
from autotune.files import parse_json, read_capped
from autotune.records import Record

#: The cap of the reference implementation, safetensors 0.8 (MAX_HEADER_SIZE).
MOST_HEADER_BYTES = 100_000_000
#: A tensor's name with shape and place takes about 100 bytes: no more fit into such a header.
MOST_TENSORS = 1_000_000
#: An index has one line a tensor; the largest of a published model is below 1 MB.
MOST_INDEX_BYTES = 20_000_000

#: Bits of one number by its name in the format; the second is our name for the type.
_DTYPES: dict[str, tuple[int, str]] = {
    "BOOL": (8, "bool"),
    "F4": (4, "fp4"),
    "F6_E2M3": (6, "fp6"),
    "F6_E3M2": (6, "fp6"),
    "U8": (8, "uint8"),
    "I8": (8, "int8"),
    "F8_E4M3": (8, "fp8"),
    "F8_E5M2": (8, "fp8"),
    "F8_E8M0": (8, "fp8"),
    "F8_E4M3FNUZ": (8, "fp8"),
    "F8_E5M2FNUZ": (8, "fp8"),
    "I16": (16, "int16"),
    "U16": (16, "uint16"),
    "F16": (16, "fp16"),
    "BF16": (16, "bf16"),
    "I32": (32, "int32"),
    "U32": (32, "uint32"),
    "F32": (32, "fp32"),
    "I64": (64, "int64"),
    "U64": (64, "uint64"),
    "F64": (64, "fp64"),
    "C64": (64, "complex64"),
}

#: What a tensor of torch can have.
MOST_DIMENSIONS = 64

#: What a component's weights are called, by the library that saves them.
STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_PICKLED = (".bin", ".ckpt", ".pt", ".pth")


class BrokenModel(BadInput):
    """A part of a model is truncated, corrupted or missing: ``file``, relative to the model."""

    def __init__(self, message: str, *, file: str) -> None:
        super().__init__(message, hint="copy or download it again")
        self.file = file


class Weights(Record):
    """The weights of one component. A packed quantized tensor counts as it is stored."""

    files: tuple[str, ...]
    bytes: int
    parameters: int
    dtype: str | None


def weight_files(names: Collection[str], *, component: str, library: str) -> tuple[str, ...]:
    """Choose the safetensors files that diffusers or transformers would load, without a variant.

    Args:
        names: The names of all files in the component's folder.
        component: The component's name, for the message.
        library: Whose class it is; the two libraries name their files differently.

    Returns:
        The files, sorted, with the index of a sharded set first. None if there are no weights.

    Raises:
        BadInput: If there are weights, but only pickled ones or only those of a variant.
    """
    for stem in sorted(STEMS.values(), key=lambda stem: stem != STEMS.get(library)):
        index, single = f"{stem}.safetensors.index.json", f"{stem}.safetensors"
        shard = re.compile(rf"{stem}-\d{{5}}-of-\d{{5}}\.safetensors")
        shards = sorted(name for name in names if shard.fullmatch(name))
        # Where both lie there, diffusers takes the shards and transformers the single file.
        if single in names and not (library == "diffusers" and index in names):
            return (single,)
        if index in names:
            return (index, *shards)
    variants = sorted(name for name in names if name.endswith(".safetensors"))
    if variants:
        raise BadInput(
            f"the weights of {component} exist only as {shorten(variants[0])}, which is not what "
            "diffusers loads",
            hint="load it with that variant=, then save_pretrained(folder) without one",
        )
    if any(name.endswith(_PICKLED) for name in names):
        raise BadInput(
            f"the weights of {component} are pickled, and loading a pickle can run any code",
            hint="convert it: load it yourself, then save_pretrained(folder, "
            "safe_serialization=True)",
        )
    return ()


def read_weights(folder: Path, *, component: str, library: str) -> Weights | None:
    """Add up a component's weights; ``None`` if it has none.

    Raises:
        BadInput: As `weight_files`.
        BrokenModel: If a file is missing, truncated or not of the format.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    files = weight_files(names, component=component, library=library)
    if not files:
        return None
    if files[0].endswith(".json"):
        files = (files[0], *_shards(folder, files[0], component))
    bytes_by_dtype: dict[str, int] = {}
    parameters = 0
    for name in files:
        if name.endswith(".json"):
            continue
        for dtype, count, size in read_header(folder / name, what=f"{component}/{name}"):
            bytes_by_dtype[dtype] = bytes_by_dtype.get(dtype, 0) + size
            parameters += count
    return Weights(
        files=files,
        bytes=sum(bytes_by_dtype.values()),
        parameters=parameters,
        dtype=max(bytes_by_dtype, key=bytes_by_dtype.__getitem__, default=None),
    )


def read_header(path: Path, *, what: str) -> list[tuple[str, int, int]]:
    """Read and check one file's header: for each tensor its type, count of numbers and bytes.

    Raises:
        BrokenModel: If the tensors do not fill the file exactly, or the header is wrong.
    """
    return list(read_tensors(path, what=what).values())


def read_tensors(path: Path, *, what: str) -> dict[str, tuple[str, int, int]]:
    """As `read_header`, by the tensors' names."""
    try:
        return dict(_tensors(path, what))
    except (BadInput, OSError, ValueError) as error:
        why = error.message if isinstance(error, BadInput) else "it cannot be read"
        message = why if what in why else f"{what} is not a whole safetensors file: {why}"
        raise BrokenModel(message, file=what) from None


def _tensors(path: Path, what: str) -> Iterator[tuple[str, tuple[str, int, int]]]:
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < 8:
            raise BadInput(f"it has {size} bytes")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MOST_HEADER_BYTES:
            raise BadInput(f"its header claims {length} bytes")
        if 8 + length > size:
            raise BadInput("it ends within its header")
        data = file.read(length)
    if not data.startswith(b"{"):
        raise BadInput("its header is not a JSON object")
    header = parse_json(
        data,
        what=f"the header of {what}",
        max_depth=4,
        max_string=MOST_HEADER_BYTES,
        max_list=MOST_TENSORS,
    )
    assert isinstance(header, dict)  # it starts with a brace and is valid
    header.pop("__metadata__", None)
    spans = []
    for name, tensor in header.items():
        dtype, count, begin, end = _tensor(name, tensor)
        spans.append((begin, end))
        yield name, (dtype, count, end - begin)
    _fills(sorted(spans), size - 8 - length)


def _tensor(name: str, tensor: object) -> tuple[str, int, int, int]:
    """The type, count of numbers, begin and end of one tensor of a header."""
    match tensor:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            numbers = (*shape, begin, end)
            sane = len(shape) <= MOST_DIMENSIONS and all(
                type(n) is int and n >= 0 for n in numbers
            )
            if sane and dtype in _DTYPES:
                bits, ours = _DTYPES[dtype]
                if prod(shape) * bits == (end - begin) * 8:
                    return ours, prod(shape), begin, end
    raise BadInput(f"the entry of its tensor {shorten(name)} is wrong")


def _fills(spans: list[tuple[int, int]], size: int) -> None:
    """Refuse tensors that overlap or leave holes, as the reference implementation does."""
    reached = 0
    for begin, end in spans:
        if begin != reached:
            raise BadInput("its tensors overlap or leave holes")
        reached = end
    if reached > size:
        raise BadInput(f"{reached - size} bytes are missing at its end")
    if reached < size:
        raise BadInput(f"{size - reached} bytes too many stand at its end")


def _shards(folder: Path, index: str, component: str) -> tuple[str, ...]:
    what = f"{component}/{index}"
    try:
        document = parse_json(
            read_capped(folder / index, MOST_INDEX_BYTES),
            what=what,
            max_depth=4,
            max_list=MOST_TENSORS,
        )
    except BadInput as error:
        raise BrokenModel(error.message, file=what) from None
    table = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(table, dict) or not table:
        raise BrokenModel(f"{what} has no weight_map", file=what)
    shards = set()
    for shard in table.values():
        if not isinstance(shard, str) or not re.fullmatch(r"[\w.-]+\.safetensors", shard):
            raise BrokenModel(
                f"{what} names {shorten(shard)}, which is not a weight file", file=what
            )
        if not (folder / shard).is_file():
            missing = f"{component}/{shard}"
            raise BrokenModel(f"{missing} is missing", file=missing)
        shards.add(shard)
    return tuple(sorted(shards))
