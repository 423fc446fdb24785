"""Runs exported scripts where autotune cannot be imported, and keeps the pictures they made.

    python export_runner.py JOBS.json

JOBS is a list of scripts, each with whether it is run eagerly: then nothing is compiled by
inductor, which takes half a minute each, and what the compiler was told is written down. Beside
each script its pictures are written, or what went wrong.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Wall:
    """Lets nobody import autotune."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "autotune":
            raise ImportError(f"{name} is blocked")


def check_wall() -> None:
    try:
        import autotune  # noqa: F401
    except ImportError:
        return
    raise SystemExit("autotune can be imported")


def unpack_without_extension() -> None:
    """quanto would compile an extension, half a minute, for numbers that are the same."""
    import optimum.quanto  # noqa: F401
    import torch
    from optimum.quanto.library.extensions import get_extension

    def unpack(packed: Any, bits: int) -> Any:
        lowest = (1 << bits) - 1
        return torch.cat([packed >> shift & lowest for shift in range(0, 8, bits)])

    get_extension("quanto_cpp")._lib = SimpleNamespace(unpack=unpack)


def start_anew() -> None:
    """Undo what a script set for the whole process."""
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName as Name
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    torch.set_float32_matmul_precision("highest")
    Registry.set_active_backend(Name.NATIVE)


class Eager:
    """In the place of ``torch.compile``: graphs are taken and run as they are."""

    def __init__(self) -> None:
        import torch

        self.compile = torch.compile
        self.told: list[dict[str, Any]] = []

    def __call__(self, function: Any, **how: Any) -> Any:
        if getattr(function, "__name__", "") == "_call_impl":  # a module's, not one of torch's own
            self.told.append({name: value for name, value in how.items() if value})
        return self.compile(function, backend="eager", dynamic=how.get("dynamic"))

    def settings(self) -> dict[str, Any]:
        """What the compiler was told, and what it is to keep to."""
        import torch._dynamo
        from torch.fx.experimental import _config

        config = torch._dynamo.config
        limits = (config.recompile_limit, config.accumulated_recompile_limit)
        return {"told": self.told, "limits": list(limits), "duck": _config.use_duck_shape}

    def start_anew(self) -> None:
        """Forget what was told, and what was set."""
        import torch._dynamo
        from torch.fx.experimental import _config

        self.told = []
        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 8
        torch._dynamo.config.accumulated_recompile_limit = 256
        _config.use_duck_shape = True


def pictures_of(ended: dict[str, Any]) -> Any:
    import numpy

    if "videos" in ended:
        return numpy.stack([[numpy.asarray(one) for one in video] for video in ended["videos"]])
    images = ended["images"] if "images" in ended else [ended["image"]]
    return numpy.stack([numpy.asarray(one) for one in images])


def run(script: Path, eager: Eager, *, eagerly: bool) -> None:
    import numpy
    import torch

    try:
        start_anew()
        eager.start_anew()
        torch.compile = eager if eagerly else eager.compile
        os.chdir(script.parent)
        ended = runpy.run_path(str(script), run_name="__main__")
        numpy.save(script.with_suffix(".npy"), pictures_of(ended))
        script.with_suffix(".json").write_text(json.dumps(eager.settings()))
    except BaseException:
        script.with_suffix(".failed").write_text(traceback.format_exc())


def main() -> None:
    # The folder of this file, which Python puts in front, is one of autotune's tests.
    sys.path[:] = [one for one in sys.path if Path(one or ".").resolve().name != "recipe"]
    sys.meta_path.insert(0, Wall())  # type: ignore[arg-type]
    check_wall()
    import torch

    torch.set_num_threads(1)
    unpack_without_extension()
    eager = Eager()
    for name, eagerly in json.loads(Path(sys.argv[1]).read_text()):
        run(Path(name), eager, eagerly=eagerly)
    check_wall()
    assert "autotune" not in sys.modules


if __name__ == "__main__":
    main()
