"""Which weights lie on the device, and when: what takes more than one call of diffusers.

A `Room` lets in one module at a time and copies nothing back; `keep_share` leaves some blocks of
a denoiser on the device and streams the others; `offloaded` says what a pipeline has already.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Waits for the end of its standard input, which is the end of the process that started it.
_DELETE_AFTERWARDS = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], True)"


class Room:
    """Modules of which at most one lies on the device; the others lie on the host.

    Args:
        device: torch's name of the device.
        leave_after: A module leaves after its call, not only when the next one comes.
    """

    def __init__(self, device: str, *, leave_after: bool = False) -> None:
        import torch

        self.device = torch.device(device)
        self.leave_after = leave_after
        self._guests: list[Guest] = []

    def admit(self, module: Any) -> None:
        """Have the module come in when it is called, or when its ``_hf_hook`` is asked to."""
        from accelerate.hooks import add_hook_to_module

        if places(module) - {"cpu"}:
            module.to("cpu")  # bitsandbytes loads what it quantizes onto the card
        guest = Guest(module, self)
        add_hook_to_module(module, guest)
        self._guests.append(guest)

    def enter(self, guest: Guest) -> None:
        """Send the others away, then bring this one in."""
        import torch

        if guest.present:
            return
        left = [one for one in self._guests if one.leave()]
        module: Any = getattr(torch, self.device.type, None)
        if left and hasattr(module, "empty_cache"):
            # Pieces of another module's sizes are of no use; a budget counts what is reserved.
            module.empty_cache()
        guest.arrive(self.device)


class Guest:
    """A module's pass to a room, in the shape of accelerate's ``ModelHook``.

    diffusers looks for the execution device here, and calls ``pre_forward`` before the methods of
    a VAE that are not ``forward`` (``apply_forward_hook``).
    """

    no_grad = False

    def __init__(self, module: Any, room: Room) -> None:
        import torch

        self.room = room
        self.execution_device = room.device
        self._module = module
        #: Where each tensor of the module stands, what was there before, and what is there now.
        self._moved: list[tuple[Any, str, Any, Any]] = []
        self._enter = torch.compiler.disable(room.enter)

    @property
    def present(self) -> bool:
        """Whether the module uses the copies made for it, which lie on the device."""
        return any(slots.get(name) is moved for slots, name, _, moved in self._moved)

    def arrive(self, device: Any) -> None:
        """Put copies on the device in the place of the module's tensors."""
        import torch

        copies: dict[int, Any] = {}  # tied weights stay tied
        with torch.no_grad():
            for slots, name, tensor in list(_slots(self._module)):
                if id(tensor) not in copies:
                    copies[id(tensor)] = _copied(tensor, device)
                self._moved.append((slots, name, tensor, copies[id(tensor)]))
        for slots, name, _, moved in self._moved:
            slots[name] = moved

    def leave(self) -> bool:
        """Put the module's own tensors back in place; say whether there was anything to do.

        Where somebody replaced or cast a copy meanwhile (SDXL casts its VAE back to fp16 after
        decoding), that is the weight now.
        """
        import torch

        was_there, self._moved = self._moved, []
        with torch.no_grad():
            for slots, name, tensor, moved in was_there:
                now = slots.get(name)
                if now is moved and now.dtype == tensor.dtype:
                    slots[name] = tensor
                elif now is not None:
                    slots[name] = _copied(now, tensor.device)
        if was_there:
            _forget_int8_states(self._module)
        return bool(was_there)

    def init_hook(self, module: Any) -> Any:
        """See ModelHook."""
        return module

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """See ModelHook."""
        self._enter(self)
        return args, kwargs

    def post_forward(self, module: Any, output: Any) -> Any:
        """See ModelHook."""
        if self.room.leave_after:
            self.leave()
        return output

    def detach_hook(self, module: Any) -> Any:
        """See ModelHook."""
        self.leave()
        return module


def _slots(module: Any) -> Iterator[tuple[Any, str, Any]]:
    for part in module.modules():
        for slots in (part._parameters, part._buffers):
            for name, tensor in slots.items():
                if tensor is not None:
                    yield slots, name, tensor


def _copied(tensor: Any, device: Any) -> Any:
    """The tensor once more, on the device, of the same class."""
    import torch

    state = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes moves the state in place, which both would share
        state = copy.copy(state)
        state.state2 = copy.copy(state.state2)  # of nested statistics
    moved = tensor.to(device)
    if state is not None:
        tensor.quant_state = state
    if moved is tensor:
        # quanto's ``clone`` unpacks the weight, and bitsandbytes' ``to`` knows no ``copy``.
        packed = hasattr(tensor, "__tensor_flatten__")
        moved = tensor.to(device, copy=True) if packed else tensor.clone()
    if isinstance(tensor, torch.nn.Parameter) and not isinstance(moved, torch.nn.Parameter):
        moved = torch.nn.Parameter(moved, requires_grad=tensor.requires_grad)
    return moved


def _forget_int8_states(module: Any) -> None:
    """Let go of the weights that bitsandbytes keeps beside the parameters once it has run."""
    for part in module.modules():
        state: Any = getattr(part, "state", None)
        if getattr(state, "CB", None) is not None:
            state.CB = state.SCB = None


# ------------------------------------------------------------------------- partial residency


def blocks_of(denoiser: Any) -> Mapping[str, Any]:
    """The blocks that follow each other in a denoiser, by name, as group offload sees them."""
    import torch

    return {
        f"{name}.{number}": block
        for name, child in denoiser.named_children()
        if isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential))
        for number, block in enumerate(child)
    }


def kept_blocks(denoiser: Any, share: float) -> Sequence[str]:
    """The blocks that stay, spread evenly: at least that share of the bytes of all blocks."""
    kept = []
    kept_bytes = seen_bytes = 0
    for name, block in blocks_of(denoiser).items():
        size = sum(tensor.numel() * tensor.element_size() for _, _, tensor in _slots(block))
        seen_bytes += size
        if kept_bytes < share * seen_bytes:
            kept.append(name)
            kept_bytes += size
    return kept


def keep_share(denoiser: Any, share: float, device: str, *, use_stream: bool) -> None:
    """Move that share of the blocks, and all that is no block, to the device; stream the others.

    Each streamed block is a world of its own, leaf after leaf, so that a cache may skip it.
    """
    from diffusers.hooks import apply_group_offloading

    streamed = blocks_of(denoiser).keys() - set(kept_blocks(denoiser, share))
    move_but(denoiser, streamed, device)
    for name in sorted(streamed):
        apply_group_offloading(
            denoiser.get_submodule(name),
            onload_device=device,
            offload_type="leaf_level",
            use_stream=use_stream,
        )


def move_but(denoiser: Any, blocks: Collection[str], device: str) -> None:
    """Move everything but those blocks, piece by piece.

    ``.to()`` moves nothing of a model once a part of it is offloaded (B7).
    """
    lists = {name.rpartition(".")[0] for name in blocks_of(denoiser)}
    for name, child in denoiser.named_children():
        if name not in lists:
            child.to(device)
    for name, block in blocks_of(denoiser).items():
        if name not in blocks:
            block.to(device)
    for slots in (denoiser._parameters, denoiser._buffers):
        for name, tensor in slots.items():
            slots[name] = tensor if tensor is None else _copied(tensor, device)


# ----------------------------------------------------------------------------- disk, hooks


def disk_folder(owner: Any, parent: Path | None) -> Path:
    """A new folder that is deleted with its owner, at the latest when this process has ended.

    Another process does it: trials leave without running exit handlers, or are killed.
    """
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="offload-", dir=parent)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _DELETE_AFTERWARDS, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    weakref.finalize(owner, process.communicate)
    return Path(folder)


def modules_of(pipe: Any) -> dict[str, Any]:
    """The components of a pipeline that are modules, by name."""
    import torch

    return {
        name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)
    }


def group_hooks(module: Any) -> list[Any]:
    """The group-offload hooks of a module and of everything in it."""
    registries = (getattr(part, "_diffusers_hook", None) for part in module.modules())
    hooks = (registry and registry.get_hook("group_offloading") for registry in registries)
    return [hook for hook in hooks if hook is not None]


def places(module: Any) -> set[str]:
    """The kinds of device on which the module's parameters lie."""
    return {parameter.device.type for parameter in module.parameters()}


def host_share(module: Any) -> float:
    """Which share of the module's parameters, by bytes, lies on the host."""
    total = on_host = 0
    for parameter in module.parameters():
        total += parameter.nbytes
        on_host += parameter.nbytes if parameter.device.type == "cpu" else 0
    return on_host / total if total else 0.0


def offloaded(pipe: Any) -> dict[str, str]:
    """What offloads a component already, by component."""
    found = {name: offloaded_as(module) for name, module in modules_of(pipe).items()}
    return {name: how for name, how in found.items() if how is not None}


def offloaded_as(module: Any) -> str | None:
    """What moves the module's weights when it is called, if anything does."""
    from accelerate.hooks import AlignDevicesHook, CpuOffload

    if group_hooks(module):
        return "group"
    for part in module.modules():
        hook = getattr(part, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):
            if isinstance(one, CpuOffload):
                return "model"
            if isinstance(one, AlignDevicesHook) and one.offload:
                return "sequential"
            if isinstance(one, Guest):
                return "staged"
    return None
