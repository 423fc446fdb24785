"""Group offload, whole and in shares: weights that come to the device in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.levers.base import Target
from autotune.levers.mechanisms import residency
from autotune.levers.mechanisms.torch_names import is_accelerator
from autotune.levers.script import Expression, Name, Script, Untold, call
from autotune.records import Evidence

_BLOCK = {"offload_type": "block_level", "num_blocks_per_group": 1}
_LEAF = {"offload_type": "leaf_level"}
#: How the denoiser is streamed. With a stream diffusers takes blocks one by one anyway (B14);
#: without one there is nothing to record (B13).
GROUPS: Mapping[str, Mapping[str, Any]] = {
    "group-block": _BLOCK,
    "group-block-4": {**_BLOCK, "num_blocks_per_group": 4},
    "group-block-stream": {**_BLOCK, "use_stream": True},
    "group-leaf": _LEAF,
    "group-leaf-stream": {**_LEAF, "use_stream": True},
    "group-leaf-stream-record": {**_LEAF, "use_stream": True, "record_stream": True},
    "group-leaf-stream-lean": {**_LEAF, "use_stream": True, "low_cpu_mem_usage": True},
    "group-disk": _BLOCK,
}
SHARES = {"partial-25": 0.25, "partial-50": 0.5, "partial-75": 0.75}
#: Parts that fail layer by layer and are left out of it in diffusers' own tests (B21).
NOT_BY_LAYER = ("Qwen3VL", "T5Gemma2", "SiglipVision", "HunyuanDiT2D", "AutoencoderSAME")
#: Between two generations a group may be on its way already, but not half of the model.
_MOST = 0.5


_OFFLOAD = "diffusers.hooks.apply_group_offloading"
#: The components of a repository are not all known: some have a safety checker, some do not.
_REST = """\
streamed = [
{listed}
]
for name, part in pipe.components.items():
    if isinstance(part, torch.nn.Module) and name not in streamed:
        part.to("{device}")"""
#: `residency.keep_share` as code.
_KEEP_SHARE = '''
def keep_share(model, share, device, **how):
    """Keep that share of the blocks on the device, spread evenly; stream the others."""
    kept_bytes = seen_bytes = 0
    for child in model.children():
        if not isinstance(child, (torch.nn.ModuleList, torch.nn.Sequential)):
            child.to(device)
            continue
        for block in child:
            weights = (*block.parameters(), *block.buffers())
            size = sum(weight.numel() * weight.element_size() for weight in weights)
            seen_bytes += size
            if kept_bytes < share * seen_bytes:
                kept_bytes += size
                block.to(device)
            else:
                diffusers.hooks.apply_group_offloading(
                    block, onload_device=device, offload_type="leaf_level", **how
                )
    for weight in (*model.parameters(recurse=False), *model.buffers(recurse=False)):
        weight.data = weight.data.to(device)
'''


def stream(target: Target, choice: str, device: str) -> None:
    """Stream the denoisers as chosen and the text encoders layer by layer; the rest stays.

    The VAE never streams: which layer comes next changes with size and tiles (B18).
    """
    from diffusers.hooks import apply_group_offloading

    room = residency.Room(device, leave_after=True)
    streams = is_accelerator(target.device)
    for name, module in residency.modules_of(target.pipe).items():
        if name in target.denoisers:
            _stream_denoiser(target, name, choice, device)
        elif name not in target.model.text_encoders:
            module.to(device)
        elif fails_by_layer(type(module).__name__):
            room.admit(module)
        else:
            how = encoder_arguments(choice, use_stream=streams)
            apply_group_offloading(module, onload_device=device, **how)


def fails_by_layer(class_name: str) -> bool:
    """Whether the class is known to fail when its layers are offloaded one by one."""
    return class_name.startswith(NOT_BY_LAYER)


def _stream_denoiser(target: Target, name: str, choice: str, device: str) -> None:
    module = target.denoisers[name]
    if choice in SHARES:
        streams = is_accelerator(target.device)
        residency.keep_share(module, SHARES[choice], device, use_stream=streams)
        return
    folder = None
    if choice == "group-disk":
        # A file that is there already would be loaded unchecked (B15).
        folder = str(residency.disk_folder(module, target.prepared))
    module.enable_group_offload(
        onload_device=device, offload_to_disk_path=folder, **GROUPS[choice]
    )


def encoder_arguments(choice: str, *, use_stream: bool) -> Mapping[str, Any]:
    """How text encoders are streamed: not from the disk (B16), and nothing is recorded (B19)."""
    how = GROUPS.get(choice, {"use_stream": use_stream})
    lean = how.get("low_cpu_mem_usage", False)
    return {**_LEAF, "use_stream": how.get("use_stream", False), "low_cpu_mem_usage": lean}


def stream_told(script: Script, choice: str) -> Script:
    """A script that streams so.

    Raises:
        Untold: If an encoder is of a class that cannot be streamed.
    """
    device = script.device
    streams = device != "cpu"
    encoders = [one for one in script.model.text_encoders if one not in script.on_host]
    for name in script.model.denoisers:
        script = _denoiser_told(script, name, choice, use_stream=streams)
    for name in encoders:
        if fails_by_layer(script.class_of(name)):
            raise Untold(
                f"{script.class_of(name)} cannot be streamed, and what brings it as a whole is "
                "code of autotune's own"
            )
        how = encoder_arguments(choice, use_stream=streams)
        told = {key: value for key, value in how.items() if value is not False}
        module = Name(f"pipe.{name}")
        script = script.then(call(_OFFLOAD, module, onload_device=device, **told))
    streamed = (*script.model.denoisers, *encoders)
    listed = "\n".join(f'    "{name}",' for name in streamed)
    script = script.then(_REST.format(listed=listed, device=device))
    return script.but(hooked=script.hooked | set(streamed))


def _denoiser_told(script: Script, name: str, choice: str, *, use_stream: bool) -> Script:
    if choice in SHARES:
        how = {"use_stream": True} if use_stream else {}
        module, share = Name(f"pipe.{name}"), SHARES[choice]
        kept = call("keep_share", module, share, script.device, **how)
        return script.defining(_KEEP_SHARE).then(kept)
    told: dict[str, Expression] = dict(GROUPS[choice])
    if choice == "group-disk":
        folder = f"{name}_folder"
        script = script.importing("tempfile").then(f"{folder} = tempfile.TemporaryDirectory()")
        told["offload_to_disk_path"] = Name(f"{folder}.name")
    group = call(f"pipe.{name}.enable_group_offload", onload_device=script.device, **told)
    return script.then(group)


# -------------------------------------------------------------------------------- evidence


def evidence(target: Target, choice: str) -> Evidence:
    """Read from the hooks what is streamed how, and from the weights where they lie."""
    problems, details = [], []
    for name, module in residency.modules_of(target.pipe).items():
        hooks = residency.group_hooks(module)
        if name in target.denoisers:
            problem, detail = _denoiser_evidence(target, name, choice)
            problems += [problem] if problem else []
            details.append(detail)
        elif name in target.model.text_encoders:
            streamed = hooks or residency.offloaded_as(module) == "staged"
            problems += [] if streamed else [f"{name} is not streamed"]
        elif hooks:
            problems.append(f"{name} is streamed")
    return Evidence(engaged=not problems, detail="; ".join(problems or details))


def _denoiser_evidence(target: Target, name: str, choice: str) -> tuple[str | None, str]:
    module = target.denoisers[name]
    if choice in SHARES:
        return _share_evidence(target, name, SHARES[choice])
    hooks = residency.group_hooks(module)
    covered = {id(one) for hook in hooks for one in _streamed_by(hook.group)}
    left = sum(id(one) not in covered for one in module.parameters())
    detail = f"{name}: {len(hooks)} groups streamed"
    if not hooks or left or not all(_is_so(hook.config, choice) for hook in hooks):
        return f"{name} is not streamed as {choice}; {left} of its weights are not at all", detail
    if is_accelerator(target.device) and residency.host_share(module) < _MOST:
        return f"most of {name} lies on the device", detail
    return None, detail


def _streamed_by(group: Any) -> Iterator[Any]:
    yield from group.parameters
    for module in group.modules:
        yield from module.parameters()


def _is_so(config: Any, choice: str) -> bool:
    how = GROUPS[choice]
    disk = config.offload_to_disk_path
    return (
        config.offload_type.value == how["offload_type"]
        and config.num_blocks_per_group == how.get("num_blocks_per_group")
        and (config.stream is not None) is how.get("use_stream", False)
        and config.record_stream is how.get("record_stream", False)
        and config.low_cpu_mem_usage is how.get("low_cpu_mem_usage", False)
        and (disk is not None) is (choice == "group-disk")
        and (disk is None or any(Path(disk).glob("group_*.safetensors")))
    )


def _share_evidence(target: Target, name: str, share: float) -> tuple[str | None, str]:
    """The blocks that should stay have no hooks and lie on the device; all others have hooks."""
    module = target.denoisers[name]
    kept = set(residency.kept_blocks(module, share))
    blocks = residency.blocks_of(module)
    streamed = {block for block, part in blocks.items() if residency.group_hooks(part)}
    detail = f"{name}: {len(blocks) - len(streamed)} of {len(blocks)} blocks stay"
    if not streamed or streamed != blocks.keys() - kept:
        return f"{name} streams {len(streamed)} of {len(blocks)} blocks", detail
    if is_accelerator(target.device):
        on_host = [block for block in kept if residency.host_share(blocks[block]) > 0]
        if on_host:
            return f"{name} has {len(on_host)} kept blocks on the host", detail
    return None, detail
