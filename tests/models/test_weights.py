"""Sizes from safetensors headers, and what a broken file is told apart by."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.models.weights import BrokenModel, Weights, read_header, read_weights

SINGLE = "diffusion_pytorch_model.safetensors"
INDEX = f"{SINGLE}.index.json"


def tensor(begin: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> Any:
    shape = [(end - begin) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read(folder: Path, library: str = "diffusers") -> Weights | None:
    return read_weights(folder, component="unet", library=library)


def test_a_mixed_file_is_added_up(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": tensor(0, 40, "BF16", [4, 5]),
        "b": tensor(40, 48, "F32", [2]),
        "c": tensor(48, 49, "F8_E4M3", []),
        "none": tensor(49, 49, "F32", [0, 7]),
    }
    (tmp_path / SINGLE).write_bytes(raw(header, bytes(49)))
    assert read(tmp_path) == Weights(files=(SINGLE,), bytes=49, parameters=23, dtype="bf16")


def test_it_agrees_with_torch(tiny: Callable[[str], Path]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tiny("sd15") / "unet"
    state = load_file(folder / SINGLE)
    found = read(folder)
    assert found is not None
    assert found.parameters == sum(one.numel() for one in state.values())
    assert found.bytes == sum(one.nbytes for one in state.values())
    assert found.dtype == "fp32"
    other = folder.parent / "bf16.safetensors"
    save_file({name: one.to(torch.bfloat16) for name, one in state.items()}, other)
    assert {dtype for dtype, _, _ in read_header(other, what="other")} == {"bf16"}


def _shards(folder: Path) -> list[str]:
    names = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in names:
        (folder / name).write_bytes(raw({name: tensor(0, 8)}, bytes(8)))
    (folder / INDEX).write_text(json.dumps({"weight_map": {name: name for name in names}}))
    return names


def test_shards_are_added_up_and_variants_left_out(tmp_path: Path) -> None:
    names = _shards(tmp_path)
    (tmp_path / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not read")
    (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"not read")
    assert read(tmp_path) == Weights(files=(INDEX, *names), bytes=16, parameters=4, dtype="fp32")


def test_the_library_decides_where_both_sets_lie(tmp_path: Path) -> None:
    for stem in ("model", "diffusion_pytorch_model"):
        (tmp_path / f"{stem}.safetensors").write_bytes(raw({"a": tensor(0, 4)}, bytes(4)))
    for library, file in (("transformers", "model.safetensors"), ("diffusers", SINGLE)):
        found = read(tmp_path, library)
        assert found is not None
        assert found.files == (file,)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    names = _shards(tmp_path)
    (tmp_path / names[1]).unlink()
    with pytest.raises(BrokenModel, match=f"unet/{names[1]} is missing"):
        read(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "../../etc/x.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "x.bin"}}',
        "[" * 100_000,
        "\0",
    ],
)
def test_a_wrong_index_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / INDEX).write_text(index)
    with pytest.raises(BrokenModel, match=f"unet/{INDEX}"):
        read(tmp_path)


def test_no_weights_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert read(tmp_path) is None


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt"])
def test_pickled_weights_are_refused_with_a_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match="pickled") as error:
        read(tmp_path)
    assert "safe_serialization=True" in (error.value.hint or "")


def test_a_lone_variant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"")
    with pytest.raises(BadInput, match=r"only as 'diffusion_pytorch_model\.fp16\.safetensors'"):
        read(tmp_path)


TWO = {"a": tensor(0, 8), "b": tensor(8, 16)}
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it has 0 bytes"),
    "seven bytes": (bytes(7), "it has 7 bytes"),
    "huge header": (struct.pack("<Q", 2**63) + b"{}", "its header claims"),
    "just above the cap": (struct.pack("<Q", 100_000_001) + b"{}", "its header claims"),
    "ends in the header": (struct.pack("<Q", 50) + b"{}", "ends within its header"),
    "no header": (raw(b""), "not a JSON object"),
    "a list": (raw([]), "not a JSON object"),
    "a space before it": (raw(b" {}"), "not a JSON object"),
    "no JSON": (raw(b"{nothing"), "header of unet/"),
    "deep": (raw(b'{"a":' + b"[" * 90_000), "nested deeper"),
    "twice the same": (raw(b'{"a":1,"a":1}'), "twice"),
    "truncated data": (raw(TWO, bytes(15)), "1 bytes are missing"),
    "more data": (raw(TWO, bytes(17)), "1 bytes too many"),
    "overlap": (raw({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)), "overlap"),
    "hole": (raw({"a": tensor(0, 8), "b": tensor(12, 16)}, bytes(16)), "holes"),
    "backwards": (raw({"a": tensor(8, 0, shape=[2])}, bytes(8)), "'a' is wrong"),
    "negative": (raw({"a": tensor(-8, 0, shape=[2])}, bytes(8)), "'a' is wrong"),
    "shape": (raw({"a": tensor(0, 8, shape=[3])}, bytes(8)), "'a' is wrong"),
    "small shape": (raw({"a": tensor(0, 8, shape=[1])}, bytes(8)), "'a' is wrong"),
    "negative shape": (raw({"a": tensor(0, 8, shape=[-1, -2])}, bytes(8)), "'a' is wrong"),
    "true as a number": (raw({"a": tensor(0, 4, shape=[True])}, bytes(4)), "'a' is wrong"),
    "many dimensions": (raw({"a": tensor(0, 4, shape=[1] * 100)}, bytes(4)), "'a' is wrong"),
    "enormous shape": (raw({"a": tensor(0, 4, shape=[10**19] * 64)}, bytes(4)), "'a' is wrong"),
    "unknown type": (raw({"a": tensor(0, 4, "F12")}, bytes(4)), "'a' is wrong"),
    "no object": (raw({"a": 1}), "'a' is wrong"),
}


@pytest.mark.parametrize(("data", "why"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_named_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / SINGLE).write_bytes(data)
    with pytest.raises(BrokenModel) as error:
        read(tmp_path)
    assert why in error.value.message
    assert error.value.file == f"unet/{SINGLE}"
    assert f"unet/{SINGLE}" in error.value.message
    assert str(tmp_path) not in error.value.message


headers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a"]), inner)
        | st.builds(tensor, st.integers(-9, 99), st.integers(-9, 99))
    ),
    max_leaves=12,
)
files = st.binary(max_size=200) | st.builds(raw, st.binary(max_size=60) | headers, st.binary())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=files)
def test_no_bytes_do_anything_but_be_read_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / SINGLE).write_bytes(data)
    found, refused = None, None
    try:
        found = read(tmp_path)
    except BrokenModel as error:
        refused = error
    assert found or refused
    assert found is None or 0 <= found.bytes < len(data)
    assert refused is None or (refused.hint and SINGLE in refused.message)
