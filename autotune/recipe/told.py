"""Asks every lever of a recipe for its lines, in the order in which levers are applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.levers import load_levers, offered_choices
from autotune.levers.base import Lever
from autotune.levers.script import Script, Statement, Untold, call
from autotune.recipe.check import check_choices
from autotune.records import Candidate, Choice, Device, Stage

#: On it nothing is tried out: choices are asked for their names alone.
_NOWHERE = Device(kind="cpu", uuid="", name="", total_bytes=0, free_bytes=0)


@dataclass(frozen=True, kw_only=True)
class Group:
    """What one choice adds, with the choice in words."""

    note: str
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Told:
    """A candidate as its levers told it.

    Args:
        script: What all of them made together.
        before: The choices that torch has to know of when it is imported.
        load: The choices that say how the pipeline is loaded.
        after: What follows once it is loaded, in order.
        calls: The choices that say how it is called.
        refused: By choice, why it cannot be told.
    """

    script: Script
    before: tuple[Group, ...]
    load: tuple[Group, ...]
    after: tuple[Group, ...]
    calls: tuple[Group, ...]
    refused: Mapping[str, str]


def tell(script: Script, choices: Candidate) -> Told:
    """Tell every choice; one of a lever that is not installed raises ``BadRecipe``."""
    found = offered_choices(_NOWHERE, None)
    offered = {name: {one.id: one for one in ones} for name, ones in found.items()}
    check_choices(choices, offered)
    before, load, calls = [], [], []
    after: list[Group] = []
    refused: dict[str, str] = {}
    for name, lever in load_levers().items():
        if name not in choices:
            continue
        if lever.stage in (Stage.COMPILE, Stage.CALL):
            script = _placed(script, after)
        choice = offered[name][choices[name]]
        try:
            told = told_by(lever, script, choice)
        except Untold as reason:
            refused[f"{name}={choice.id}"] = reason.message
            continue
        note = f"{name}={choice.id}: {choice.what}"
        if told.environment != script.environment:
            before.append(Group(note=note))
        if (told.load, told.quantization) != (script.load, script.quantization):
            load.append(Group(note=note))
        if told.statements != script.statements:
            new = told.statements[len(script.statements) :]
            after.append(Group(note=note, statements=new))
        if told.multiple != script.multiple:
            calls.append(Group(note=note))
        script = told
    script = _placed(script, after)
    return Told(
        script=script,
        before=tuple(before),
        load=tuple(load),
        after=tuple(after),
        calls=tuple(calls),
        refused=refused,
    )


def told_by(lever: Lever, script: Script, choice: Choice) -> Script:
    """The script with one choice in it.

    Raises:
        Untold: If the choice cannot be told, or the lever tells nothing.
    """
    code = getattr(lever, "code", None)
    if code is not None:
        told: Script = code(script, choice.id)
        return told
    if choice.baseline:
        return script  # it is how everything is without the lever
    raise Untold("the lever does not say how it is done in code")


def _placed(script: Script, after: list[Group]) -> Script:
    """What is placed by no lever lies on the device."""
    if script.placed:
        return script
    move = call("pipe.to", script.device)
    after.append(Group(note="", statements=(move,)))
    return script.but(placed=True).then(move)
