"""What torch was built for, without importing it, which takes seconds."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from autotune.probe.text_files import read_text

_ASSIGNMENT = re.compile(r"^(\w+)\s*(?::[^=\n]*)?=\s*['\"]([^'\"\n]*)['\"]", re.MULTILINE)


def torch_build() -> dict[str, str]:
    """The texts assigned in ``torch/version.py``: ``__version__``, ``cuda``, ``hip``, ``xpu``.

    What is ``None`` there is absent here; empty when torch is not installed.
    """
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):  # blocked, or half imported
        return {}
    if spec is None or spec.origin is None:
        return {}
    return parse_version_file(read_text(Path(spec.origin).with_name("version.py")) or "")


def parse_version_file(text: str) -> dict[str, str]:
    """Names and the string literals assigned to them at the start of a line."""
    return {name: value for name, value in _ASSIGNMENT.findall(text) if value}
