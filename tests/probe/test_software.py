"""Versions, read without importing anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.probe.software import probe_software
from autotune.probe.torch_build import parse_version_file

CODE = (
    "from autotune.probe.software import probe_software as p; import json; print(json.dumps(p()))"
)


def test_what_is_installed_has_a_version_and_what_is_not_is_left_out() -> None:
    found = probe_software()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["pydantic"]
    assert None not in found.values()


def test_torch_is_named_with_its_local_part_and_a_broken_package_is_left_out(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise SystemError('imported')")
    (tmp_path / "torch/version.py").write_text("__version__ = '2.13.0+cu130'\n")
    for name, text in (("torch-2.13.0", "Name: torch\nVersion: 2.13.0\n"), ("ray-1", "")):
        (tmp_path / f"{name}.dist-info").mkdir()
        (tmp_path / f"{name}.dist-info/METADATA").write_text(text)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    found = run(CODE, {**os.environ, "PYTHONPATH": path})
    assert found["torch"] == "2.13.0+cu130"
    assert "ray" not in found


def test_a_version_file_is_read_as_text() -> None:
    text = (
        "__version__ = '2.13.0+rocm7.0'\ncuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n"
    )
    assert parse_version_file(text) == {"__version__": "2.13.0+rocm7.0", "hip": "7.0"}
    assert parse_version_file("\0 = 'x'\n====\ncuda = None") == {}
