"""text-encoders: where prompts are encoded: with the rest, on the host, or once and for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.levers.base import ChoiceMaker, ModelView, Target
from autotune.levers.mechanisms.encoders import ON_HOST, Gone, Memo, OnHost, replace
from autotune.levers.mechanisms.torch_names import is_accelerator, torch_device
from autotune.levers.plan import Place, Plan
from autotune.levers.script import Script, Untold
from autotune.records import Choice, Device, Evidence, Stage

name = "text-encoders"
what = "where prompts are encoded"
stage = Stage.WRAP

#: T5-XXL takes 4.8 TFLOP for 512 tokens; a host of few cores does a tenth of one in a second.
_ENCODE_S = 60.0


def choices(device: Device, view: ModelView | None) -> Sequence[Choice]:
    """With the other components, on the host, or once in the first generation."""
    choice = ChoiceMaker(lever=name)
    none = _problem(view) if view else None
    here = None if is_accelerator(device) else "the device is the host: encoders run there anyway"
    return (
        choice("device", "where the other components lie", baseline=True),
        choice("host", "on the host's processor", unless=here or none),
        choice(
            "precomputed",
            "once for the workload's prompts, on the host; then the encoders are dropped",
            unless=none or (_no_method(view.record.pipeline) if view else None),
        ),
    )


def start_up_s(choice: str) -> float:
    """The first generation encodes every prompt."""
    return _ENCODE_S if choice == "precomputed" else 0.0


def apply(target: Target, choice: str) -> None:
    """Put stand-ins in the encoders' places, or the encoders back.

    Raises:
        BadInput: If encoders are wanted that were dropped.
    """
    pipe = target.pipe
    memo = _memo(pipe)
    if memo is not None and choice == "precomputed":
        return
    if memo is not None:
        memo.withdraw()
    for part, encoder in _encoders(target).items():
        stays = choice == "device"
        replace(pipe, part, encoder if stays else OnHost(encoder, torch_device(target.device)))
    if choice == "precomputed":
        Memo(pipe, target.model.text_encoders, target.workload.prompts)


def watched(target: Target, choice: str) -> Mapping[str, Any]:
    """The encoders; not those that are to be dropped, which whoever watches would keep alive."""
    if choice == "precomputed":
        return {}
    return {f"{name}.{part}": encoder for part, encoder in _encoders(target).items()}


def engaged(target: Target, choice: str) -> Evidence:
    """Look at what stands in the encoders' places, and who was called."""
    places = {part: getattr(target.pipe, part, None) for part in target.model.text_encoders}
    memo = _memo(target.pipe)
    if choice == "precomputed":
        gone = sum(isinstance(part, Gone) for part in places.values())
        known = len(memo.known) if memo else 0
        answered = memo.answered if memo else 0
        return Evidence(
            engaged=known > 0 and gone == sum(part is not None for part in places.values()),
            detail=f"{gone} encoders dropped, {known} prompts known, {answered} calls answered",
        )
    on_host = [part for part, one in places.items() if isinstance(one, OnHost)]
    calls = sum(seen.calls for key, seen in target.seen.items() if key.startswith(f"{name}."))
    detail = f"on the host: {', '.join(on_host) or 'none'}; called {calls} times"
    if choice == "device":
        dropped = any(isinstance(part, Gone) for part in places.values())
        return Evidence(engaged=not on_host and not dropped and memo is None, detail=detail)
    strays = [part for part in on_host if not _lies_on_host(places[part])]
    all_there = bool(on_host) and len(on_host) == sum(one is not None for one in places.values())
    return Evidence(
        engaged=all_there and not strays and memo is None and (calls > 0 or not target.seen),
        detail=detail,
    )


def code(script: Script, choice: str) -> Script:
    """The stand-in and where it stands; what answers for dropped encoders is too much to tell.

    Raises:
        Untold: If prompts are precomputed.
    """
    if choice == "device":
        return script
    if choice == "precomputed":
        raise Untold("what answers for the dropped encoders is code of autotune's own")
    encoders = script.model.text_encoders
    stand_ins = (
        f'vars(pipe)["{one}"] = OnHost(pipe.{one}, "{script.device}")' for one in encoders
    )
    script = script.importing("accelerate.utils").defining(ON_HOST).then(*stand_ins)
    return script.but(on_host=script.on_host | set(encoders))


def plan(plan: Plan, choice: str) -> Plan:
    """The encoders on the host, or nowhere once every prompt is known."""
    if choice == "device":
        return plan
    place = Place.HOST if choice == "host" else Place.GONE
    return plan.with_parts(plan.model.text_encoders, place=place)


def _encoders(target: Target) -> dict[str, Any]:
    """The encoders themselves, by name, wherever they run."""
    found = {part: getattr(target.pipe, part, None) for part in target.model.text_encoders}
    own = {
        part: getattr(one, "encoder", one) if isinstance(one, OnHost) else one
        for part, one in found.items()
    }
    return {
        part: one for part, one in own.items() if one is not None and not isinstance(one, Gone)
    }


def _memo(pipe: Any) -> Memo | None:
    found = pipe.__dict__.get("encode_prompt")
    return found if isinstance(found, Memo) else None


def _lies_on_host(encoder: Any) -> bool:
    return all(parameter.device.type == "cpu" for parameter in encoder.parameters())


def _problem(view: ModelView) -> str | None:
    return None if view.record.text_encoders else "the pipeline has no text encoder"


def _no_method(pipeline: str) -> str | None:
    import diffusers

    if hasattr(getattr(diffusers, pipeline), "encode_prompt"):
        return None
    return f"{pipeline} encodes prompts in no step of its own (it has no encode_prompt)"
