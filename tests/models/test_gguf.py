"""GGUF headers: what gguf-py writes is read alike, and whatever else is refused with a reason."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.models.gguf import TYPES, Tensor, read_gguf


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def info(name: str, shape: tuple[int, ...], type: int, offset: int) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", type, offset)


def header(
    *infos: bytes, values: tuple[bytes, ...] = (), version: int = 3, magic: bytes = b"GGUF"
) -> bytes:
    counts = struct.pack("<IQQ", version, len(infos), len(values))
    return magic + counts + b"".join(values) + b"".join(infos)


def whole(head: bytes, data: int, alignment: int = 32) -> bytes:
    return head + bytes(-len(head) % alignment + data)


ONE = info("w", (64, 2), 8, 0)  # Q8_0: four blocks of 34 bytes


def read(path: Path, content: bytes) -> tuple[Tensor, ...]:
    file = path / "x.gguf"
    file.write_bytes(content)
    return read_gguf(file, what="x.gguf")


def test_types_are_those_of_the_format() -> None:
    import gguf

    for number, (name, block, size) in TYPES.items():
        type = gguf.GGMLQuantizationType(number)
        assert (type.name, *gguf.GGML_QUANT_SIZES[type]) == (name, block, size)


def test_it_reads_what_the_reference_writes(tmp_path: Path) -> None:
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "flux")
    writer.add_array("a.list", ["one", "two"])
    writer.add_array("a.shape", [1, 2, 3])
    writer.add_bool("a.flag", True)
    writer.add_custom_alignment(64)
    eight = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("w", gguf.quantize(np.ones((4, 64), np.float32), eight), raw_dtype=eight)
    writer.add_tensor("b", np.ones(5, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    expected = tuple(
        Tensor(name=one.name, type=one.tensor_type.name, numbers=one.n_elements, bytes=one.n_bytes)
        for one in reader.tensors
    )
    assert read_gguf(tmp_path / "x.gguf", what="x") == expected
    assert [one.bytes for one in expected] == [4 * 2 * 34, 20]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it ends within its header"),
        (b"GGU", "it ends within its header"),
        (header(ONE, magic=b"GGML"), "it does not begin with GGUF"),
        (whole(header(ONE, version=1), 136), "it is of version 1"),
        (whole(header(ONE, version=3 << 24), 136), "it is of version"),
        (header(ONE)[:-1], "it ends within its header"),
        (header(ONE), "bytes are missing at its end"),
        (whole(header(ONE), 135), "1 bytes are missing at its end"),
        (header(), "it holds no tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**60), "it ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "it ends within its header"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "it ends within its header"),
        (whole(header(info("w", (64, 2), 99, 0)), 136), "type 99, which is not known"),
        (whole(header(info("w", (63, 2), 8, 0)), 136), "the shape of its tensor 'w' is wrong"),
        (whole(header(info("w", (0,), 0, 0)), 136), "the shape of its tensor 'w' is wrong"),
        (whole(header(info("w", (64,), 0, 4)), 260), "the place of its tensor 'w' is wrong"),
        (whole(header(info("w", (1,) * 9, 0, 0)), 36), "has 9 dimensions"),
        (
            whole(header(ONE, values=(text("k") + struct.pack("<I", 77),)), 136),
            "a value of kind 77",
        ),
        (
            whole(header(ONE, values=(text("k") + struct.pack("<IIQ", 9, 9, 1),)), 136),
            "an array of kind 9",
        ),
        (
            whole(
                header(ONE, values=(text("general.alignment") + struct.pack("<II", 4, 3),)), 136
            ),
            "its alignment is 3",
        ),
    ],
)
def test_what_is_no_whole_file_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path, content)
    assert refused.value.message.startswith("x.gguf is not a whole GGUF file: ")
    assert why in refused.value.message
    assert "\n" not in refused.value.message


def test_a_header_larger_than_any_denoisers_is_not_read(tmp_path: Path) -> None:
    huge = text("k") + struct.pack("<IQ", 8, 17 * 1024**2) + bytes(17 * 1024**2)
    with pytest.raises(BadInput, match="more than 16777216 bytes"):
        read(tmp_path, whole(header(ONE, values=(huge,)), 136))


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 200), value=st.integers(0, 255), end=st.integers(0, 400))
def test_no_bytes_do_anything_but_be_read_or_refused(
    place: int, value: int, end: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(
        whole(header(ONE, info("b", (3,), 0, 160), values=(text("k") + b"\4\0\0\0abcd",)), 172)
    )
    content[place % len(content)] = value
    try:
        tensors = read(tmp_path_factory.getbasetemp(), bytes(content[:end]))
    except BadInput:
        return
    assert sum(one.bytes for one in tensors) <= len(content)
