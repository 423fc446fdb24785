"""A compiled stand-in for the NVIDIA management library, so that the real pynvml can be tested.

stub = StubNvml.build(tmp_path)
stub.set(count=1, **H200)
subprocess.run([...], env=stub.env())
stub.set(**{"0.free": 0})          # seen by the running program at its next call
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import autotune.records

COMPILER = shutil.which("gcc") or shutil.which("cc")
NO_COMPILER = "needs gcc or cc to build the stand-in for libnvidia-ml.so.1"

#: NVML's codes, as the tests name them.
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED = 3, 4, 9
GPU_IS_LOST, RESET_REQUIRED, VERSION_MISMATCH, UNKNOWN = 15, 16, 18, 999

GIB = 2**30


def card(index: int = 0, **values: object) -> dict[str, object]:
    """The values of one healthy card; ``values`` replace or add some, ``None`` removes one."""
    healthy: dict[str, object] = {
        "uuid": f"GPU-{index}1111111-2222-3333-4444-555555555555",
        "name": "NVIDIA H200",
        "total": 139 * GIB,
        "free": 130 * GIB,
        "reserved": GIB,
        "capability": "9.0",
        "pcie_generation": 5,
        "pcie_width": 16,
        "power_mw": 700_000,
        "ecc": 1,
        "mig": 0,
        "sm_clock": 1980,
        "default_clock": 1980,
        "max_clock": 1980,
        "reasons": 0,
        "memory_clock": 3201,
        "temperature": 31,
        "utilisation": 0,
    }
    return {f"{index}.{key}": value for key, value in {**healthy, **values}.items()}


class StubNvml:
    """One compiled library and the file it answers from."""

    def __init__(self, library: Path, values: Path) -> None:
        self.library = library
        self.values = values
        self._set: dict[str, object] = {}
        self.set(driver="580.65.06", cuda=13020, count=1, **card())

    @classmethod
    def build(cls, folder: Path, omit: Iterable[str] = ()) -> StubNvml:
        """Compile the library into a new folder, without the functions in ``omit``."""
        assert COMPILER is not None, NO_COMPILER
        library = folder / "libnvidia-ml.so.1"
        left_out = [f"-D{function}=absent_{function}" for function in omit]
        source = Path(__file__).with_name("nvml.c")
        command = [COMPILER, "-shared", "-fPIC", *left_out, "-o", str(library), str(source)]
        subprocess.run(command, check=True, timeout=60)
        return cls(library, folder / "nvml.txt")

    def set(self, **values: object) -> None:
        """Change values at once; ``None`` removes one, which makes it unsupported."""
        self._set |= values
        lines = [f"{key}={value}\n" for key, value in self._set.items() if value is not None]
        draft = self.values.with_suffix(".new")
        draft.write_text("".join(lines))
        draft.replace(self.values)

    def fail(self, function: str, code: int, *, card: int | None = None) -> None:
        """Make a function fail, on one card or everywhere."""
        self.set(**{f"{'' if card is None else f'{card}.'}error.{function}": code})

    def hang(self, function: str, seconds: float = 60) -> None:
        """Make a function take that long."""
        self.set(**{f"sleep.{function}": seconds})

    def env(self, **extra: str) -> dict[str, str]:
        """The environment of a program that shall see the stand-in and this autotune."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        package = Path(autotune.records.__file__).parents[1]
        return {
            **kept,
            "LD_LIBRARY_PATH": str(self.library.parent),
            "NVIDIA_STUB": str(self.values),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(package), kept.get("PYTHONPATH")])),
            **extra,
        }
