"""Weights come to the device and go: seen on the CPU, and with torch's meta device as the card."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from autotune.levers.mechanisms.converted import count_converted
from autotune.levers.mechanisms.residency import (
    Guest,
    Room,
    blocks_of,
    disk_folder,
    kept_blocks,
    modules_of,
    move_but,
    offloaded,
)
from tests.levers.built import built, observed
from tests.trial.bench import ROOT

pytestmark = pytest.mark.trials


def linear(size: int = 4) -> Any:
    import torch

    return torch.nn.Linear(size, size)


def room_of(*modules: Any, device: str = "meta", leave_after: bool = False) -> Room:
    room = Room(device, leave_after=leave_after)
    for module in modules:
        room.admit(module)
    return room


def where(module: Any) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


def come(module: Any) -> None:
    module._hf_hook.pre_forward(module)


def test_staged_components_come_in_their_order_and_never_two_at_once() -> None:
    target = built("flux", offload="staged")
    modules = modules_of(target.pipe)
    seen: list[list[str]] = []

    def note(*_: Any) -> None:
        seen.append([name for name, module in modules.items() if module._hf_hook.present])

    for module in (*modules.values(), target.vae.decoder):
        module.register_forward_hook(note)
    observed(target, offload="staged")
    steps = [["transformer"]] * target.workload.steps
    assert seen == [["text_encoder"], ["text_encoder_2"], *steps, ["vae"]]
    assert [name for name, module in modules.items() if module._hf_hook.present] == ["vae"]


def test_a_generation_uses_copies_and_gives_every_tensor_of_the_host_back() -> None:
    target = built("sd15", offload="staged")
    modules = modules_of(target.pipe)
    before = {name: dict(module.named_parameters()) for name, module in modules.items()}
    used: list[bool] = []
    kept = next(target.denoiser.parameters())
    target.denoiser.conv_in.register_forward_hook(
        lambda module, *_: used.append(module.weight is not before["unet"]["conv_in.weight"])
    )
    observed(target, offload="staged")
    assert used == [True] * target.workload.steps
    assert next(target.denoiser.parameters()) is kept
    target.vae._hf_hook.leave()
    for name, module in modules.items():
        for key, tensor in module.named_parameters():
            assert tensor is before[name][key], f"{name}.{key}"


def test_a_module_in_the_room_lies_on_the_device_and_the_others_on_the_host() -> None:
    import torch

    first, second = torch.nn.BatchNorm1d(4), linear()
    room_of(first, second)
    assert (where(first), where(second)) == ({"cpu"}, {"cpu"})
    come(first)
    assert (where(first), where(second)) == ({"meta"}, {"cpu"})
    come(second)
    assert (where(first), where(second)) == ({"cpu"}, {"meta"})


def test_a_module_that_was_loaded_onto_the_device_starts_on_the_host() -> None:
    import torch

    class OnTheCard(torch.nn.Linear):
        def to(self, device: str) -> Any:
            return self.to_empty(device=device)

    module = OnTheCard(4, 4, device="meta")
    room_of(module)
    assert where(module) == {"cpu"}
    come(module)
    assert where(module) == {"meta"}


def test_a_module_that_is_there_already_is_not_copied_again() -> None:
    module = linear()
    room_of(module)
    come(module)
    weight = module.weight
    come(module)
    assert module.weight is weight


def test_a_room_to_leave_after_the_call_is_empty_between_calls() -> None:
    import torch

    module = linear()
    room_of(module, device="cpu", leave_after=True)
    weight = module.weight
    inside: list[bool] = []
    module.register_forward_pre_hook(lambda *_: inside.append(module.weight is weight))
    with torch.no_grad():
        assert module(torch.ones(1, 4)).shape == (1, 4)
    assert module.weight is weight
    assert not module._hf_hook.present


def test_tied_weights_stay_tied() -> None:
    module = linear()
    module.twin = linear()
    module.twin.weight = module.weight
    room_of(module)
    come(module)
    assert module.twin.weight is module.weight
    assert module.twin.bias is not module.bias


def test_a_weight_that_was_cast_in_the_room_stays_cast() -> None:
    import torch

    module, other = linear(), linear()
    room_of(module, other, device="cpu")
    come(module)
    module.to(torch.float16)
    come(other)
    assert module.weight.dtype is torch.float16
    come(module)
    assert module.weight.dtype is torch.float16


def test_weights_of_torchao_and_bitsandbytes_come_as_they_are_and_leave_nothing_behind() -> None:
    import bitsandbytes
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    eight = linear(64)
    quantize_(eight, Int8WeightOnlyConfig())
    four = bitsandbytes.nn.Linear4bit(64, 64, compress_statistics=True, quant_type="nf4")
    four = four.to("cpu")  # which quantizes
    nested = four.weight.quant_state.state2
    assert nested is not None
    room_of(eight, four)
    for module in (eight, four):
        kind, weight = type(module.weight), module.weight
        come(module)
        assert type(module.weight) is kind
        assert isinstance(module.weight, torch.nn.Parameter)
        assert module.weight.device.type == "meta"
        module._hf_hook.leave()
        assert module.weight is weight
    state = four.weight.quant_state
    assert {state.absmax.device.type, state.code.device.type, state.offset.device.type} == {"cpu"}
    assert state.state2.absmax.device.type == "cpu"


@pytest.mark.parametrize("kind", ["qint8", "qint4", "qfloat8_e4m3fn"])
def test_weights_of_quanto_stay_packed_where_host_and_device_are_one(kind: str) -> None:
    import torch
    from optimum import quanto

    module = torch.nn.Sequential(linear(128))
    quanto.quantize(module, weights=getattr(quanto, kind))
    quanto.freeze(module)
    packed = count_converted(module)
    assert packed.labels == {f"quanto {kind}": 1}
    own = module[0].weight
    room_of(module, device="cpu")
    come(module)
    assert count_converted(module) == packed
    assert module[0].weight is not own
    module._hf_hook.leave()
    assert module[0].weight is own


def test_what_bitsandbytes_keeps_beside_its_8_bit_weights_goes_with_them() -> None:
    import bitsandbytes
    import torch

    module = bitsandbytes.nn.Linear8bitLt(64, 64, has_fp16_weights=False).to("cpu")
    given = torch.ones(1, 64)
    with torch.no_grad():
        plain = bitsandbytes.nn.Linear8bitLt.forward(module, given)
    module.weight.CB, module.weight.SCB = module.state.CB, module.state.SCB
    room_of(module, device="cpu")
    for _ in range(2):
        with torch.no_grad():
            assert bool((module(given) == plain).all())
        assert module.state.CB is not None
        module._hf_hook.leave()
        assert module.state.CB is None


def test_a_pass_has_everything_that_accelerate_asks_of_a_hook() -> None:
    from accelerate.hooks import ModelHook, remove_hook_from_module

    public = {name for name in vars(ModelHook) if not name.startswith("_")}
    assert all(hasattr(Guest, name) for name in public)
    for name in public - {"no_grad"}:
        theirs = list(inspect.signature(getattr(ModelHook, name)).parameters)
        assert list(inspect.signature(getattr(Guest, name)).parameters) == theirs
    module = linear()
    weight = module.weight
    room_of(module)
    come(module)
    remove_hook_from_module(module)
    assert module.weight is weight


# ----------------------------------------------------------------------------------- shares


def stack(*widths: int) -> Any:
    import torch

    module = torch.nn.Module()
    module.blocks = torch.nn.ModuleList(torch.nn.Linear(width, width) for width in widths)
    module.head = linear()
    module.table = torch.nn.Parameter(torch.ones(3))
    module.register_buffer("frequencies", torch.ones(3))
    return module


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("widths", [(8,) * 20, (8,) * 19 + (4,) * 38, (4, 8, 16, 16, 8, 4), (5,)])
def test_at_least_the_share_of_the_bytes_stays(widths: tuple[int, ...], share: float) -> None:
    module = stack(*widths)
    sizes = {name: block.weight.nbytes for name, block in blocks_of(module).items()}
    kept = kept_blocks(module, share)
    assert len(sizes) == len(widths)
    held = sum(sizes[name] for name in kept)
    assert held >= share * sum(sizes.values())
    assert held - max(sizes.values()) < share * sum(sizes.values())


def test_kept_blocks_are_spread_so_that_transfers_are() -> None:
    module = stack(*(8,) * 8)
    assert kept_blocks(module, 0.25) == ["blocks.0", "blocks.4"]
    assert kept_blocks(module, 0.5) == ["blocks.0", "blocks.2", "blocks.4", "blocks.6"]


def test_a_share_is_moved_piece_by_piece() -> None:
    module = stack(*(8,) * 4)
    move_but(module, {"blocks.1", "blocks.3"}, "meta")
    assert [where(block) for block in module.blocks] == [{"meta"}, {"cpu"}] * 2
    assert where(module.head) == {"meta"}
    assert module.table.device.type == module.frequencies.device.type == "meta"


def test_what_is_offloaded_is_named_with_how() -> None:
    pipe = built("sd15").pipe
    assert offloaded(pipe) == {}
    pipe.enable_model_cpu_offload(device="cpu")
    assert offloaded(pipe) == dict.fromkeys(("vae", "text_encoder", "unet"), "model")


# ------------------------------------------------------------------------------------- disk


class Owner:
    """Something that a folder belongs to."""


def gone(folder: Path) -> bool:
    for _ in range(200):
        if not folder.exists():
            return True
        time.sleep(0.05)
    return False


def test_a_folder_goes_with_its_owner(tmp_path: Path) -> None:
    owner = Owner()
    folder = disk_folder(owner, tmp_path / "prepared")
    (folder / "weights").write_bytes(b"x")
    assert folder.parent == tmp_path / "prepared"
    assert disk_folder(owner, tmp_path / "prepared") != folder
    del owner
    assert gone(folder)


_HOLDS_A_FOLDER = """
import sys, time, pathlib
from autotune.levers.mechanisms.residency import disk_folder
owner = pathlib.PurePath
folder = disk_folder(owner, pathlib.Path(sys.argv[1]))
(folder / "weights").write_bytes(b"x")
print(folder, flush=True)
if sys.argv[2] == "exit":
    import os
    os._exit(0)
time.sleep(60)
"""


@pytest.mark.parametrize("end", ["exit", "kill"])
def test_a_folder_goes_with_its_process_however_that_ends(tmp_path: Path, end: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS_A_FOLDER, str(tmp_path), end],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == tmp_path
        if end == "kill":
            assert (folder / "weights").exists()
            os.killpg(process.pid, signal.SIGKILL)
    assert gone(folder)
