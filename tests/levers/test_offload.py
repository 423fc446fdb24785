"""offload: what it refuses and why, what it proves, and that no two placements meet."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.levers import offload
from autotune.levers.mechanisms import streaming
from autotune.levers.mechanisms.residency import blocks_of, group_hooks, kept_blocks, modules_of
from autotune.records import Component
from tests.levers.built import built, card, observed, proof, reasons
from tests.levers.views import View, view_of
from tests.trial.bench import tiny_model

pytestmark = pytest.mark.trials

OTHERS = [one.id for one in offload.choices(card(), None) if one.id != "none"]
ON_A_CPU = [
    one for one in OTHERS if "stream" not in one and one not in ("sequential", "partial-75")
]
STREAMED = [one for one in ON_A_CPU if one not in ("model", "staged")]


# ------------------------------------------------------------------------------- what exists


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_where_the_device_is_the_host_there_is_nowhere_to_offload_to(kind: str) -> None:
    found = reasons("offload", card(kind=kind))
    assert found.pop("none") is None
    assert set(found.values()) == {"the device is the host: there is nowhere to offload to"}
    assert list(found) == OTHERS


@pytest.mark.parametrize("kind", ["cuda", "rocm", "xpu"])
def test_on_a_card_everything_can_be_had_of_a_model_with_enough_blocks(kind: str) -> None:
    refused = {
        id for id, why in reasons("offload", card(kind=kind), view_of("sd15")).items() if why
    }
    assert refused == set()


def test_a_share_that_leaves_nothing_to_stream_is_refused_with_the_blocks() -> None:
    found = reasons("offload", card(), view_of("wan"))
    assert found["partial-50"] is None
    assert found["partial-75"] == (
        "2 of the 2 blocks of WanTransformer3DModel would stay: none is streamed"
    )


def test_model_offload_needs_an_order_of_components() -> None:
    found = reasons("offload", card(), view_of("sd15", pipeline="AudioLDM2Pipeline"))
    assert found["model"] == (
        "AudioLDM2Pipeline does not say in which order its components run (model_cpu_offload_seq)"
    )
    assert found["staged"] is None


def test_a_class_that_diffusers_does_not_offload_in_groups_is_refused() -> None:
    import diffusers
    import torch

    with torch.device("meta"):
        denoiser = diffusers.DiTTransformer2DModel(num_layers=2, num_attention_heads=2)
    assert denoiser._supports_group_offloading is False
    found = reasons("offload", card(), View(denoiser=denoiser, record=tiny_model("flux")))
    refused = {id for id, why in found.items() if why and "DiTTransformer2DModel" in why}
    assert refused == {id for id in OTHERS if id.startswith(("group-", "partial-"))}


def test_a_part_that_fails_layer_by_layer_excludes_sequential_offload_only() -> None:
    part = Component(name="text_encoder", library="transformers", class_name="Qwen3VLModel")
    view = view_of("flux", components=(*tiny_model("flux").components, part))
    found = reasons("offload", card(), view)
    assert found["sequential"] == "Qwen3VLModel fails when its layers are offloaded one by one"
    assert found["group-leaf"] is None


def test_without_accelerate_nothing_made_of_its_hooks_can_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offload, "find_spec", lambda name: None)
    refused = {id for id, why in reasons("offload", card()).items() if why}
    assert refused == {"model", "sequential", "staged"}


# -------------------------------------------------------------------------------- placement


@pytest.mark.parametrize("choice", ["none", *ON_A_CPU])
def test_offload_alone_places_the_pipeline_and_never_moves_it_first(
    choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import diffusers

    moves: list[Any] = []
    move = diffusers.DiffusionPipeline.to

    def noted(pipe: Any, *where: Any, **how: Any) -> Any:
        moves.append((where, bool(offload.offloaded(pipe))))
        return move(pipe, *where, **how)

    monkeypatch.setattr(diffusers.DiffusionPipeline, "to", noted)
    target = built("flux", offload=choice)
    # diffusers' own model offload begins with a move to the host.
    assert moves == ([(("cpu",), False)] if choice in ("none", "model") else [])
    assert proof(target, "offload", choice).engaged


@pytest.mark.parametrize("first", ON_A_CPU)
def test_a_pipeline_that_is_offloaded_in_another_way_is_refused(first: str) -> None:
    target = built("flux", offload=first)
    for second in {"none", "model", "group-block-4", "group-leaf", "staged"} - {first}:
        with pytest.raises(BadInput, match=r"in another way already: .*transformer \("):
            offload.apply(target, second)
    assert proof(target, "offload", first).engaged


def test_what_depends_on_a_stream_has_one_and_takes_single_blocks() -> None:
    for id, how in streaming.GROUPS.items():
        stream = how.get("use_stream", False)
        assert stream is ("stream" in id)
        assert stream or not {"record_stream", "low_cpu_mem_usage"} & set(how)
        assert not stream or how.get("num_blocks_per_group", 1) == 1
        assert ("num_blocks_per_group" in how) is (how["offload_type"] == "block_level")


@pytest.mark.parametrize("choice", [*streaming.GROUPS, *streaming.SHARES])
def test_the_stream_of_a_text_encoder_is_not_recorded(choice: str) -> None:
    how = streaming.encoder_arguments(choice, use_stream=True)
    assert how["offload_type"] == "leaf_level"
    assert "record_stream" not in how
    assert how["use_stream"] is ("stream" in choice or choice in streaming.SHARES)
    assert how["low_cpu_mem_usage"] is ("lean" in choice)


@pytest.mark.parametrize("choice", STREAMED)
def test_the_vae_stays_on_the_device_while_others_stream(choice: str) -> None:
    pipe = built("flux", offload=choice).pipe
    streamed = {name for name, module in modules_of(pipe).items() if group_hooks(module)}
    assert streamed == {"transformer", "text_encoder", "text_encoder_2"}


def disk_of(module: Any) -> set[str]:
    return {str(hook.config.offload_to_disk_path) for hook in group_hooks(module)}


def test_only_the_denoiser_goes_to_the_disk() -> None:
    pipe = built("flux", offload="group-disk").pipe
    assert disk_of(pipe.text_encoder) == disk_of(pipe.text_encoder_2) == {"None"}
    (folder,) = disk_of(pipe.transformer)
    assert len(list(Path(folder).iterdir())) == len(group_hooks(pipe.transformer))


def test_every_trial_has_a_folder_of_its_own_which_goes_with_it(tmp_path: Path) -> None:
    folders = set()
    for _ in range(2):
        target = built("flux")
        target.prepared = tmp_path / "prepared"
        offload.apply(target, "group-disk")
        folders |= disk_of(target.denoiser)
    assert len(folders) == 2
    assert {Path(folder).parent for folder in folders} == {tmp_path / "prepared"}


def test_an_encoder_that_fails_layer_by_layer_comes_as_a_whole_and_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = observed(built("flux"))
    monkeypatch.setattr(streaming, "NOT_BY_LAYER", ("T5Encoder",))
    target = built("flux", offload="group-leaf")
    weights = dict(target.pipe.text_encoder_2.named_parameters())
    assert not group_hooks(target.pipe.text_encoder_2)
    assert bool((observed(target, offload="group-leaf") == plain).all())
    assert proof(target, "offload", "group-leaf").engaged
    for name, weight in target.pipe.text_encoder_2.named_parameters():
        assert weight is weights[name]


# --------------------------------------------------------------------------------- evidence


def unhook_the_last_block(target: Any) -> None:
    kept = kept_blocks(target.denoiser, 0.5)
    streamed = [block for name, block in blocks_of(target.denoiser).items() if name not in kept]
    for part in streamed[-1].modules():
        if hasattr(part, "_diffusers_hook"):
            part._diffusers_hook.remove_hook("group_offloading", recurse=False)


def empty_the_disk(target: Any) -> None:
    for file in Path(*disk_of(target.denoiser)).iterdir():
        file.unlink()


def unhook_all(target: Any) -> None:
    for module in (target.denoiser, *(target.pipe.text_encoder, target.pipe.text_encoder_2)):
        for part in module.modules():
            if hasattr(part, "_diffusers_hook"):
                part._diffusers_hook.remove_hook("group_offloading", recurse=False)


@pytest.mark.parametrize(
    ("choice", "undo"),
    [
        ("model", lambda target: target.pipe.remove_all_hooks()),
        ("staged", lambda target: target.pipe.remove_all_hooks()),
        ("group-block", unhook_all),
        ("group-leaf", unhook_all),
        ("group-disk", empty_the_disk),
        ("partial-50", unhook_the_last_block),
    ],
)
def test_what_was_undone_is_not_engaged(choice: str, undo: Callable[[Any], None]) -> None:
    target = built("flux", offload=choice)
    assert proof(target, "offload", choice).engaged
    undo(target)
    assert not proof(target, "offload", choice).engaged


def test_one_way_to_offload_is_no_proof_of_another() -> None:
    for choice in ON_A_CPU:
        target = built("sd15", offload=choice)
        others = {"none", *OTHERS} - {choice}
        if choice == "partial-50":
            others.remove("partial-75")  # three of four blocks are both
        assert [one for one in others if proof(target, "offload", one).engaged] == []


def test_staging_that_moved_nothing_in_a_generation_is_not_engaged() -> None:
    target = built("flux", offload="staged")
    observed(target, offload="staged")
    assert proof(target, "offload", "staged").engaged
    target.vae._hf_hook.leave()
    assert not proof(target, "offload", "staged").engaged


def test_two_components_on_the_device_at_once_are_not_staged() -> None:
    import torch

    target = built("flux", offload="staged")
    observed(target, offload="staged")
    target.denoiser._hf_hook.arrive(torch.device("cpu"))
    found = proof(target, "offload", "staged")
    assert not found.engaged
    assert found.detail.startswith("on the device: vae, transformer;")


def test_a_component_left_elsewhere_is_seen() -> None:
    import torch

    target = built("flux")
    target.pipe.vae.to(torch.device("meta"))
    assert proof(target, "offload", "none").detail == "offloaded: nothing; not on cpu: vae"
    assert not proof(target, "offload", "none").engaged
    target = built("flux", offload="model")
    target.pipe.vae.to(torch.device("meta"))
    assert not proof(target, "offload", "model").engaged


# ------------------------------------------------------------- what only an accelerator runs


def parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def test_everything_that_is_asked_of_diffusers_has_that_name_there() -> None:
    import diffusers
    from diffusers.hooks import apply_group_offloading
    from diffusers.hooks.group_offloading import GroupOffloadingConfig, GroupOffloadingType

    pipe = diffusers.DiffusionPipeline
    assert "device" in parameters(pipe.enable_model_cpu_offload)
    assert "device" in parameters(pipe.enable_sequential_cpu_offload)
    asked = {name for how in streaming.GROUPS.values() for name in how} | {"onload_device"}
    assert asked | {"offload_to_disk_path"} <= parameters(
        diffusers.ModelMixin.enable_group_offload
    )
    assert asked <= parameters(apply_group_offloading)
    read = asked - {"onload_device", "use_stream"} | {"stream", "offload_to_disk_path"}
    assert read <= parameters(GroupOffloadingConfig)
    types = {how["offload_type"] for how in streaming.GROUPS.values()}
    assert types <= {one.value for one in GroupOffloadingType}
    assert isinstance(pipe._exclude_from_cpu_offload, list)
    assert diffusers.FluxPipeline.model_cpu_offload_seq
    assert diffusers.ModelMixin._supports_group_offloading is True


def test_the_hooks_of_accelerate_are_told_apart_by_what_they_offload() -> None:
    from accelerate.hooks import AlignDevicesHook

    assert AlignDevicesHook(execution_device="cpu").offload is False
    assert AlignDevicesHook(execution_device="cpu", offload=True).offload is True
    target = built("sd15")
    from accelerate.hooks import add_hook_to_module

    add_hook_to_module(target.denoiser, AlignDevicesHook(execution_device="cpu"))
    assert offload.offloaded(target.pipe) == {}
    add_hook_to_module(target.denoiser.conv_in, AlignDevicesHook("cpu", offload=True))
    assert offload.offloaded(target.pipe) == {"unet": "sequential"}
