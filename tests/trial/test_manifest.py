"""The list of files beside prepared weights: they are as it says, or are made anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.trial.prepared import _MANIFEST, _is_complete

KEY: dict[str, object] = {"component": "transformer", "dtype": "fp32"}


def test_what_is_as_it_was_kept_is_taken(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    (tmp_path / _MANIFEST).write_text(json.dumps({"key": KEY, "files": {"weights": 4}}))
    assert _is_complete(tmp_path, KEY)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[]",
            "null",
            "{}",
            "{",
            '{"key": {}}',
            '{"files": {}}',
            '{"files": {"weights": 4}}',
        ),
        *('{"key": 1, "files": 1}', '{"key": {}, "files": ["weights"]}', '{"files": [[]]}'),
        *('{"key": {}, "files": {"missing": 4}}', '{"files": {"weights": NaN}}', "[" * 100_000),
        '{"key": {}, "key": {}, "files": {}}',
        json.dumps({"key": KEY, "files": {"weights": 5}}),
        json.dumps({"key": {**KEY, "dtype": "bf16"}, "files": {"weights": 4}}),
        json.dumps({"key": KEY, "files": {"x" * 4000: 4}}),
    ],
)
def test_anything_else_is_made_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    (tmp_path / _MANIFEST).write_text(text)
    assert not _is_complete(tmp_path, KEY)
