"""The compiler behind ``torch.compile``: is there one, its cache, its limits, and what it made.

``compile`` and ``compile-vae`` share this. Modules are compiled in place (``Module.compile``),
which keeps the pipeline's object and its hooks; the mark of it is ``_compiled_call_impl``.
``fullgraph`` is never asked for: the hooks of offload, caches and layerwise casting must run
outside of the graph and would make it an error (levers.md, B46, B56, B57).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autotune.levers.base import Target
from autotune.levers.mechanisms.capability import is_elsewhere
from autotune.levers.script import Script
from autotune.records import Device, Evidence

#: All modules are compiled through one function, ``Module._call_impl``, and share its limit of 8:
#: the rest would run as written, without a word. Blocks, twins and the decoder need more.
_LIMIT = 64
#: Offload hooks make dynamo compile a forward once a module: what diffusers' tests set (B48).
_LIMIT_WITH_HOOKS = 1000
#: Triton, like torch, compiles for this compute capability and newer (torch.utils._triton).
_OLDEST_CARD = 7
#: What neither ``shlex`` nor a shell gives a meaning.
_PLAIN = re.compile(r"[\w./+@%:,-]+", re.ASCII)
#: What diffusers (``HookRegistry``) and accelerate leave on a module they hooked.
_HOOKS = ("_diffusers_hook", "_hf_hook")


def missing_compiler(device: Device) -> str | None:
    """Why nothing can be compiled on this device, as far as a cheap look can tell."""
    if device.kind in ("cuda", "rocm", "xpu"):
        capability = device.compute_capability
        if capability is not None and int(capability.split(".")[0]) < _OLDEST_CARD:
            return f"Triton needs compute capability {_OLDEST_CARD}.0, this card has {capability}"
        if is_elsewhere(device):
            return None  # torch's builds for cards bring triton
        if importlib.util.find_spec("triton") is None:
            return "the package triton, which compiles for GPUs, is not installed"
        own = os.environ.get("CC")
        if shutil.which(own) is None if own else not (shutil.which("gcc") or shutil.which("cc")):
            return f"Triton needs a C compiler, and {own or 'gcc'} is not found"
    else:
        # What torch._inductor.config.cpp.cxx falls back to.
        cxx = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(cxx) is None:
            return f"compiling for a CPU needs a C++ compiler, and {cxx} is not found"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "compiled code needs the development files of Python, and Python.h is not found"
    return None


def prepare_compiler(target: Target, modules: Iterable[Any], *, dynamic: bool = False) -> None:
    """Set what compiling these modules needs, from what they hold; limits are only ever raised.

    The cache lies with the study, so that a cold compile is cold once a study and nothing of
    another one leaks in. Outside a study the user's own setting stands.
    """
    import torch._dynamo

    folder = plain_folder(target.prepared) if target.prepared is not None else None
    if folder is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "inductor")
    settings: Any = torch._dynamo.config
    parts = [part for module in modules for part in module.modules()]
    hooked = any(hasattr(part, mark) for part in parts for mark in _HOOKS)
    limit = _LIMIT_WITH_HOOKS if hooked else _LIMIT
    settings.recompile_limit = max(settings.recompile_limit, limit)
    settings.accumulated_recompile_limit = max(settings.accumulated_recompile_limit, limit)
    if any(type(part).__name__ == "Linear8bitLt" for part in parts):
        # bitsandbytes' int8 product picks outliers out: a shape that depends on data (B50).
        settings.capture_dynamic_output_shape_ops = True
    if dynamic:
        from torch.fx.experimental import _config

        # Two sides that happen to be equal must not be taken for one (diffusers' documentation).
        _config.use_duck_shape = False


def compiler_told(script: Script, components: Iterable[str], *, dynamic: bool = False) -> Script:
    """A script that sets what compiling these components needs."""
    settings = "torch._dynamo.config"
    raised = f"{settings}.recompile_limit = {_LIMIT_WITH_HOOKS}"
    if script.hooked & set(components):
        more = f"{settings}.accumulated_recompile_limit = {_LIMIT_WITH_HOOKS}"
        script = script.then(raised, more)
    elif raised not in script.statements:
        script = script.then(f"{settings}.recompile_limit = {_LIMIT}")
    quantized = (script.quantization.get(component) for component in components)
    if any(one is not None and "load_in_8bit" in one.named for one in quantized):
        script = script.then(f"{settings}.capture_dynamic_output_shape_ops = True")
    if dynamic:
        script = script.importing("torch.fx.experimental._config")
        script = script.then("torch.fx.experimental._config.use_duck_shape = False")
    return script


def plain_folder(folder: Path) -> Path | None:
    """The folder, made, under a name that inductor's command lines leave whole.

    They quote nothing. A name with a space or a quote in it is reached through a link in the
    temporary folder. There anybody may have put something, so a link that is not this user's own
    and to this folder is not followed: then there is no such name.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if _PLAIN.fullmatch(str(folder)):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]
    link = Path(tempfile.gettempdir(), f"autotune-{os.getuid()}-{digest}")
    with contextlib.suppress(OSError):
        link.symlink_to(folder, target_is_directory=True)
    try:
        own = link.lstat().st_uid == os.getuid() and os.readlink(link) == str(folder)
    except OSError:
        return None
    return link if own and _PLAIN.fullmatch(str(link)) else None


def compiled_parts(module: Any) -> list[Any]:
    """The modules in it, and itself, that were compiled in place."""
    return [part for part in module.modules() if is_compiled(part)]


def is_compiled(module: Any) -> bool:
    """Whether ``Module.compile`` was called on it."""
    return getattr(module, "_compiled_call_impl", None) is not None


def compiler_setting(module: Any, setting: str) -> Any:
    """What the module's compiler was told of a setting of inductor."""
    return module._compiled_call_impl.get_compiler_config().get(setting)


def recorded_graphs() -> int:
    """How many graphs the CUDA-graph trees hold for replay; none until a generation was made."""
    trees = sys.modules.get("torch._inductor.cudagraph_trees")
    if trees is None:
        return 0
    import torch

    managers = (
        trees.get_manager(index, create_if_none_exists=False)
        for index in range(torch.cuda.device_count())
    )
    return sum(len(nodes) for one in managers if one for nodes in one.roots.values())


def graphs_ran(target: Target, marked: dict[str, int]) -> Evidence:
    """Compiled graphs ran inside the modules, by name, with how many regions each has.

    Before a generation was observed the marks have to do. A twin that was not called (the second
    transformer of Wan 2.2 in a short schedule) cannot have run a graph, but one must.
    """
    if not marked or not all(marked.values()):
        missing = ", ".join(name for name, regions in marked.items() if not regions)
        return Evidence(engaged=False, detail=f"nothing is compiled in: {missing or 'nothing'}")
    regions = ", ".join(f"{name}: {count} compiled" for name, count in marked.items())
    if not target.seen:
        return Evidence(engaged=True, detail=f"{regions}, nothing generated yet")
    seen = {name: target.seen[name] for name in marked if name in target.seen}
    ran = ", ".join(f"{one.graphs} graphs in {one.calls} calls" for one in seen.values())
    called = [one for one in seen.values() if one.calls]
    return Evidence(
        engaged=bool(called) and all(one.graphs for one in called),
        detail=f"{regions}; {ran or 'none was called'}",
    )
