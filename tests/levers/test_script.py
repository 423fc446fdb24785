"""Every choice says how it is done in plain diffusers code, or why that cannot be said."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.levers import load_levers, offered_choices
from autotune.levers.attention import _SWAPPED_IN, _swaps
from autotune.levers.base import Target
from autotune.levers.script import Name, Script, Untold, call, evaluated
from autotune.models.catalog import find
from autotune.models.published import entries_with_parts, planned_model
from autotune.models.structure import Structure
from autotune.recipe.layout import statement_lines
from autotune.recipe.told import tell, told_by
from autotune.records import Choice, Device, Given, Model
from tests.levers.built import card

LEVERS = load_levers()
NOWHERE = Device(kind="cpu", uuid="", name="", total_bytes=0, free_bytes=0)
CHOICES = [one for found in offered_choices(NOWHERE, None).values() for one in found]
#: What plain diffusers code cannot say, on whatever model.
REFUSED = {"text-encoders=precomputed", "offload=staged", "compile=jit-trace"}
MODELS = ("flux", "sdxl", "wan-14b", "qwen-image")


def planned(name: str) -> Model:
    entry = find(name)
    assert entry is not None
    return planned_model(entry)


def script_for(name: str, device: str = "cuda", **changes: Any) -> Script:
    model = planned(name).but(**changes)
    return Script(model=model, workload=model.workload, device=device)


def given(component: str, kind: Any) -> Given:
    return Given(
        component=component,
        kind=kind,
        path=f"./{kind}",
        digest=f"sha256:{'0' * 64}",
        weight_bytes=1,
        formats=(),
    )


def with_files(model: Model) -> tuple[Given, ...]:
    kinds = ("gguf", "svdquant", "bfl", "auto-round")
    return (*(given(model.denoiser, kind) for kind in kinds), given("vae", "tiny-vae"))


def test_values_that_are_told_are_the_values_that_are_set() -> None:
    import torch

    told = call("diffusers.BitsAndBytesConfig", load_in_4bit=True, bnb_4bit_quant_type="nf4")
    assert evaluated(told).bnb_4bit_quant_type == "nf4"
    assert evaluated(Name("torch.bfloat16")) is torch.bfloat16
    assert evaluated("torch.bfloat16") == "torch.bfloat16"


@pytest.mark.parametrize("choice", CHOICES, ids=lambda one: f"{one.lever}={one.id}")
@pytest.mark.parametrize("name", MODELS)
def test_a_choice_has_code_or_a_reason(
    name: str, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOTUNE_ALLOW_HUB_KERNELS", "1")
    monkeypatch.setenv("DIFFUSERS_TRUST_REMOTE_KERNELS", "1")
    script = script_for(name)
    script = script.but(model=script.model.but(given=with_files(script.model)))
    lever, named = LEVERS[choice.lever], f"{choice.lever}={choice.id}"
    reason = tell(script, {choice.lever: choice.id}).refused.get(named)
    if reason is not None:
        assert len(reason.split()) > 4
        assert reason == reason.strip().rstrip(".")
        assert not choice.baseline
        return
    told = told_by(lever, script, choice)
    assert named not in REFUSED
    empty = not (script.model.text_encoders[1:] or choice.lever != "quantize-other-encoders")
    if choice.lever == "dtype" or not (choice.baseline or empty):
        assert told != script
    elif choice.lever != "offload":
        assert told == script
    for statement in told.statements:
        assert statement_lines(statement)


@pytest.mark.parametrize("choice", sorted(REFUSED))
def test_what_is_code_of_autotunes_own_is_refused_with_the_reason(choice: str) -> None:
    lever, _, id = choice.partition("=")
    told = tell(script_for("sdxl"), {lever: id})
    assert list(told.refused) == [choice]


def test_code_from_the_hub_is_not_told_unless_the_owner_of_the_machine_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AUTOTUNE_ALLOW_HUB_KERNELS", raising=False)
    monkeypatch.delenv("DIFFUSERS_TRUST_REMOTE_KERNELS", raising=False)
    script = script_for("flux", given=(given("transformer", "svdquant"),))
    refused = tell(script, {"attention": "flash-hub", "checkpoint": "svdquant"}).refused
    assert refused.keys() == {"attention=flash-hub", "checkpoint=svdquant"}
    assert "AUTOTUNE_ALLOW_HUB_KERNELS=1" in refused["attention=flash-hub"]


def test_a_file_that_was_not_named_is_refused_with_how_to_name_it() -> None:
    refused = tell(script_for("flux"), {"checkpoint": "gguf", "vae-model": "tiny"}).refused
    assert "--checkpoint denoiser=FILE.gguf" in refused["checkpoint=gguf"]
    assert "--checkpoint vae=FOLDER" in refused["vae-model=tiny"]


def test_a_lever_from_outside_that_tells_nothing_is_refused_unless_it_is_left_alone() -> None:
    class Quiet:
        name, what, stage = "quiet", "says nothing", LEVERS["dtype"].stage

    script = script_for("flux")
    lever: Any = Quiet()
    off, on = (Choice(lever="quiet", id=id, what="", baseline=id == "off") for id in ("off", "on"))
    assert told_by(lever, script, off) is script
    with pytest.raises(Untold, match="does not say how it is done in code"):
        told_by(lever, script, on)


def test_lines_stand_in_the_order_of_the_stages() -> None:
    choices = {
        "compile": "regional",
        "offload": "group-leaf",
        "cache": "first-block-8",
        "vae-tiling": "half",
        "text-encoders": "host",
        "attention": "native-flash",
    }
    told = tell(script_for("flux"), choices)
    order = [group.note.partition("=")[0] for group in told.after]
    assert order == [
        *("vae-tiling", "attention", "cache", "text-encoders", "offload", "compile"),
    ]
    lines = [line for group in told.after for one in group.statements for line in [str(one)]]
    # Encoders that stay on the host are no modules any more, and are not streamed.
    assert not any("apply_group_offloading" in line and "text_encoder" in line for line in lines)


def test_a_pipeline_that_no_lever_places_is_moved_before_it_is_compiled() -> None:
    told = tell(script_for("flux"), {"dtype": "bf16", "compile": "full"})
    assert [statement_lines(one.statements[0])[0] for one in told.after] == [
        'pipe.to("cuda")',
        "torch._dynamo.config.recompile_limit = 64",
    ]


def test_limits_of_the_compiler_are_only_ever_raised() -> None:
    choices = {"offload": "group-leaf", "compile": "regional", "compile-vae": "on"}
    told = tell(script_for("flux"), choices).script
    limits = [one for one in told.statements if "recompile_limit" in str(one)]
    assert limits == [
        "torch._dynamo.config.recompile_limit = 1000",
        "torch._dynamo.config.accumulated_recompile_limit = 1000",
    ]


def test_the_limits_that_are_told_are_the_ones_that_are_set() -> None:
    import torch._dynamo

    limit = tell(script_for("flux"), {"compile": "regional"}).script.statements[-2]
    assert isinstance(limit, str)
    assert torch._dynamo.config.accumulated_recompile_limit >= int(limit.rpartition(" ")[2])


# ---------------------------------------------------- what is told without looking at a module


def firsts(component: str) -> dict[str, Model]:
    """Of the catalogue, one model for every class of the component."""
    found: dict[str, Model] = {}
    for entry in entries_with_parts():
        model = planned_model(entry)
        part = model.component(model.denoiser if component == "denoiser" else component)
        if part is not None:
            found.setdefault(part.class_name, model.but(id=entry.name))
    return found


def kind_or_name(value: object) -> str:
    return value.id if isinstance(value, Model) else str(value)


@pytest.mark.parametrize(("kind", "model"), firsts("denoiser").items(), ids=kind_or_name)
def test_processors_are_swapped_where_it_is_told_that_they_are(kind: str, model: Model) -> None:
    module = Structure(model, model.workload).module(model.denoiser)
    assert type(module).__name__ == kind
    assert (kind in _SWAPPED_IN) is _swaps(module)


@pytest.mark.parametrize(("kind", "model"), firsts("vae").items(), ids=kind_or_name)
def test_tiles_that_are_told_are_the_tiles_that_are_set(kind: str, model: Model) -> None:
    lever = LEVERS["vae-tiling"]
    view = Structure(model, model.workload)
    half = next(one for one in lever.choices(card(), view) if one.id == "half")
    script = Script(model=model, workload=model.workload, device="cuda")
    if half.unavailable is not None:
        assert kind == "AutoencoderKLCogVideoX"
        with pytest.raises(Untold, match="sizes its tiles"):
            told_by(lever, script, half)
        return
    told = told_by(lever, script, half)
    lines = [line for one in told.statements for line in statement_lines(one)]

    class Pipe:
        vae = Structure(model, model.workload).module("vae")

    exec("\n".join(lines), {"pipe": Pipe})
    target = Target(model=model, device=card(), workload=model.workload)
    target.pipe = type("Pipe", (), {"vae": view.module("vae")})
    lever.apply(target, "half")
    names = [name for name in vars(target.vae) if "til" in name]
    assert names
    assert {name: getattr(Pipe.vae, name) for name in names} == {
        name: getattr(target.vae, name) for name in names
    }
