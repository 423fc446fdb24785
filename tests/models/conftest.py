"""Tiny real pipelines, built once for all tests of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import TINY


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny pipeline; shared by all tests, so copy it before changing it."""
    base = tmp_path_factory.mktemp("tiny")

    def build(name: str) -> Path:
        folder = base / name
        return folder if folder.exists() else TINY[name](folder)

    return build
