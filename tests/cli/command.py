"""Runs the real command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """Standard output as one JSON document; anything beside it is an error."""
        return json.loads(self.out)


def command(*arguments: str | bytes) -> list[str | bytes]:
    """The command line of autotune."""
    return [sys.executable, "-m", "autotune", *arguments]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with the checkout importable from any folder."""
    path = os.pathsep.join([*changes.pop("PYTHONPATH", "").split(os.pathsep), str(ROOT)])
    return {**os.environ, **changes, "PYTHONPATH": path.strip(os.pathsep)}


def run(
    *arguments: str | bytes,
    folder: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 200,
    **more: Any,
) -> Ended:
    """Run autotune in a folder to its end."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**(env or {})),
        capture_output=not more,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        **more,
    )
    return Ended(
        code=done.returncode,
        out=(done.stdout or b"").decode(),
        err=(done.stderr or b"").decode(),
    )


def short_study(folder: Path, out: str) -> None:
    """Leave the recipe of a study of one trial of the demo in a folder."""
    line = ("suggest", "--model", "demo", "--vram", "1GB", "--device", "cpu", "--trials", "1")
    ended = run(*line, "--effort", "quick", "--out", out, "--json", folder=folder)
    assert ended.code == 0, ended.err
