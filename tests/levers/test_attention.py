"""attention: the table of backends, what is refused where, and evidence that cannot be faked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import autotune.levers.attention as attention
from autotune.levers.mechanisms.attention_backends import ALLOW_HUB_KERNELS, BACKENDS, Backend
from autotune.levers.mechanisms.attention_smoke import smoke_problem
from autotune.levers.rules import RULES
from autotune.records import Device, DeviceKind
from tests.levers.views import View, loaded, reasons, view_of
from tests.trial.bench import CPU, tiny_model

FIRST = ["native", "native-flash", "native-efficient", "native-cudnn", "native-math"]


def card(capability: str | None, kind: DeviceKind = "cuda") -> Device:
    return Device(
        kind=kind,
        uuid="u",
        name="n",
        total_bytes=1,
        free_bytes=1,
        compute_capability=capability,
    )


@pytest.fixture(autouse=True)
def _global_backend() -> Iterator[None]:
    """Setting a backend on a model sets one for the whole process (levers.md, A7)."""
    yield
    from diffusers.models.attention_dispatch import AttentionBackendName as Name
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    Registry.set_active_backend(Name.NATIVE)


# ------------------------------------------------------------------------------------ the table


def test_the_table_has_every_backend_of_the_installed_dispatcher_once() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    values = [backend.value for backend in BACKENDS.values()]
    assert sorted(values) == sorted(name.value for name in AttentionBackendName)


def test_the_choices_of_the_first_release_come_first() -> None:
    assert list(BACKENDS)[: len(FIRST)] == FIRST


@pytest.mark.parametrize("id", BACKENDS)
def test_what_the_table_says_of_masks_is_what_the_dispatcher_does(id: str) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    function = Registry._backends[AttentionBackendName(BACKENDS[id].value)]
    refuses = "`attn_mask` is not supported for" in inspect.getsource(function)
    assert BACKENDS[id].masks is not refuses


def test_what_is_downloaded_is_what_the_dispatcher_takes_from_the_hub() -> None:
    from diffusers.models.attention_dispatch import _HUB_KERNELS_REGISTRY

    remote = {backend.value for backend in BACKENDS.values() if backend.remote}
    assert remote == {name.value for name in _HUB_KERNELS_REGISTRY}
    for backend in BACKENDS.values():
        assert ("native code downloaded from the hub" in backend.what) is backend.remote


def test_the_rules_on_masks_and_on_half_precision_name_what_the_table_says() -> None:
    patterns = {
        rule.id: rule.choices["attention"] for rule in RULES if "attention" in rule.choices
    }

    def named(rule: str) -> set[str]:
        return {id for id in BACKENDS if patterns[rule].matches(id)}

    assert named("masked-flash") == {id for id, one in BACKENDS.items() if not one.masks}
    assert named("gpu-kernels-need-half") == {
        id for id, one in BACKENDS.items() if one.half and not one.elsewhere
    }
    assert named("float-mask-varlen") == {id for id in BACKENDS if "varlen" in id}


# --------------------------------------------------------------------------- what is refused where


@pytest.mark.parametrize(
    ("device", "id", "reason"),
    [
        (CPU, "xformers", "needs a CUDA device, this is cpu"),
        (CPU, "flash-3", "needs an NVIDIA GPU, not cpu"),
        (CPU, "aiter-hub", "needs an AMD GPU, not cpu"),
        (CPU, "native-npu", "needs an Ascend NPU, not cpu"),
        (CPU, "native-xla", "needs a TPU, not cpu"),
        (card("7.5"), "native-flash", "needs compute capability 8.0 or later, this card has 7.5"),
        (card("8.9"), "flash-3", "needs compute capability 9.0 or later, this card has 8.9"),
        (card("12.0"), "flash-3", "is made for compute capability 9.0, this card has 12.0"),
        (card("9.0"), "sage-blackwell-hub", "needs compute capability 10.0 or later"),
        (card(None, "rocm"), "native-cudnn", "needs an NVIDIA GPU, not rocm"),
        (card("9.0"), "flash-3-hub", "runs native code downloaded from the hub"),
        (card(None, "rocm"), "aiter-hub", "runs native code downloaded from the hub"),
        (card("9.0"), "native-npu", "needs an Ascend NPU, not cuda"),
    ],
)
def test_a_refusal_says_what_is_missing_here(device: Device, id: str, reason: str) -> None:
    said = reasons(attention, None, device)[id]
    assert said is not None
    assert said.startswith(reason)


@pytest.mark.parametrize("id", ["native-efficient", "native-cudnn", "native-flash", "xformers"])
def test_what_torch_and_a_required_package_bring_is_offered_on_a_card(id: str) -> None:
    assert reasons(attention, None, card("9.0"))[id] is None
    assert reasons(attention, view_of("flux"), card("9.0"))[id] is None


def test_a_missing_or_old_package_is_named_with_the_version_that_would_do() -> None:
    from autotune.levers.mechanisms.attention_backends import device_problem

    def problem(requirement: str) -> str | None:
        return device_problem(Backend(value="", what="", devices=None, needs=(requirement,)), CPU)

    assert problem("pytest>=1") is None
    assert problem("not-there>=2.1") == "needs the package not-there>=2.1, which is not installed"
    said = problem("pytest>=999")
    assert said is not None
    assert said.startswith("needs the package pytest>=999, here is ")


def test_hub_kernels_are_offered_once_the_owner_allows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ALLOW_HUB_KERNELS, "yes")
    assert ALLOW_HUB_KERNELS in str(reasons(attention, None, card("9.0"))["flash-hub"])
    monkeypatch.setenv(ALLOW_HUB_KERNELS, "1")
    said = reasons(attention, None, card("9.0"))["flash-hub"]
    assert said is None or said.startswith("needs the package kernels")


def test_a_hub_kernel_is_not_set_by_whoever_asks() -> None:
    target = loaded("flux")
    with pytest.raises(RuntimeError, match=ALLOW_HUB_KERNELS):
        attention.apply(target, "flash-hub")
    assert attention.engaged(target, "flash-hub").engaged is False


def test_a_recipe_cannot_bring_hub_kernels_in() -> None:
    import autotune
    from autotune.errors import RecipeMismatch
    from autotune.recipe.schema import RecipeModel
    from tests.recipe.factory import make_recipe

    target = loaded("flux")
    model = target.model
    recipe = make_recipe(
        model=RecipeModel(
            id=model.id,
            revision=model.revision,
            source=model.source,
            pipeline=model.pipeline,
            weights=model.weights,
        ),
        choices={"attention": "flash-hub"},
    )
    with pytest.raises(RecipeMismatch, match=ALLOW_HUB_KERNELS):
        autotune.apply(target.pipe, recipe, allow_mismatch=True)
    with pytest.raises(RecipeMismatch, match="attention=flash-hub cannot be set here"):
        autotune.build(recipe, model=model.folder, device="cpu", allow_mismatch=True)


def test_a_head_too_narrow_for_a_kernel_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_HUB_KERNELS, "1")
    said = reasons(attention, view_of("flux"), card("12.0"))["sage-blackwell-hub"]
    narrow = "needs heads of 64 or 128 numbers, those of this model have 16"
    assert said == narrow or str(said).startswith("needs the package kernels")
    assert attention._head_dim(view_of("flux").module("transformer")) == 16


# ------------------------------------------------------------------------------- tried out first


def test_a_backend_that_fails_on_the_device_is_not_offered() -> None:
    said = smoke_problem("_native_cudnn", CPU, 16)
    assert said is not None
    assert said.startswith("it fails here: RuntimeError: ")
    assert "\n" not in said
    assert smoke_problem("_native_flash", CPU, 16) is None


def test_trying_a_backend_out_leaves_the_process_as_it_was() -> None:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    before = Registry.get_active_backend()[0]
    smoke_problem("_native_math", CPU, 24)
    smoke_problem("_native_cudnn", CPU, 24)
    assert Registry.get_active_backend()[0] == before


def test_a_device_that_torch_does_not_see_is_not_tried_out() -> None:
    assert smoke_problem("_native_cudnn", card("9.0", "xpu"), 16) is None


# ------------------------------------------------------------------------------------- xformers


def test_xformers_swaps_the_processors_of_a_unet_and_no_linear_attention() -> None:
    unet = reasons(attention, view_of("sd15"), card("9.0"))
    assert unet["xformers"] is None
    assert (
        unet["native-flash"] == "UNet2DConditionModel accepts an attention backend and ignores it"
    )
    linear = reasons(attention, view_of("sana"), card("9.0"))
    assert linear["xformers"] == (
        "SanaTransformer2DModel accepts an attention backend and ignores it"
    )


def test_the_switch_for_xformers_puts_in_the_processors_that_are_looked_for() -> None:
    from diffusers.models import attention_processor

    switch = inspect.getsource(
        attention_processor.Attention.set_use_memory_efficient_attention_xformers
    )
    for name in attention._SWAPPED:
        assert inspect.isclass(getattr(attention_processor, name))
        assert f"{name}(attention_op=attention_op)" in switch
    for name in attention._SWAPPABLE:
        assert inspect.isclass(getattr(attention_processor, name))


def test_swapped_processors_are_the_evidence_and_native_swaps_them_back() -> None:
    from diffusers.models.attention_processor import AttnProcessor2_0, XFormersAttnProcessor

    target = loaded("sd15")
    assert not attention.engaged(target, "xformers").engaged
    target.denoiser.set_attn_processor(XFormersAttnProcessor())
    assert attention.engaged(target, "xformers").engaged
    assert not attention.engaged(target, "native").engaged
    first = next(iter(target.denoiser.attn_processors))
    mixed = dict(target.denoiser.attn_processors) | {first: AttnProcessor2_0()}
    target.denoiser.set_attn_processor(mixed)
    assert not attention.engaged(target, "xformers").engaged
    attention.apply(target, "native")
    assert attention.engaged(target, "native").engaged


# ------------------------------------------------------------------------------------- evidence


def test_a_processor_that_was_changed_afterwards_is_noticed() -> None:
    target = loaded("flux")
    attention.apply(target, "native-math")
    assert attention.engaged(target, "native-math").engaged
    module: Any = target.denoiser.transformer_blocks[0].attn
    module.processor._attention_backend = "native"
    evidence = attention.engaged(target, "native-math")
    assert not evidence.engaged
    assert evidence.detail == "processors use: 1 _native_math, 1 native"


def test_the_second_denoiser_gets_the_backend_too() -> None:
    target = loaded("wan", twin=True)
    attention.apply(target, "native-math")
    assert attention.engaged(target, "native-math").engaged
    target.denoisers["transformer_2"].set_attention_backend("native")
    assert not attention.engaged(target, "native-math").engaged


def test_of_a_denoiser_that_listens_in_part_only_that_part_counts() -> None:
    import diffusers

    def denoiser() -> Any:
        return diffusers.HunyuanVideoTransformer3DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=1,
            num_single_layers=1,
            num_refiner_layers=1,
            text_embed_dim=16,
            pooled_projection_dim=8,
            rope_axes_dim=(4, 6, 6),
        )

    target = loaded("flux")
    target.pipe.transformer = denoiser()
    processors = list(attention._processors(target.denoiser))
    deaf = [one for one in processors if not hasattr(one, "_attention_backend")]
    assert 0 < len(deaf) < len(processors)
    attention.apply(target, "native-math")
    evidence = attention.engaged(target, "native-math")
    assert evidence.engaged
    assert evidence.detail == f"processors use: {len(processors) - len(deaf)} _native_math"
    view = View(denoiser=denoiser(), record=tiny_model("flux"))
    assert reasons(attention, view)["native-math"] is None
