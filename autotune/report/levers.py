"""``autotune levers`` for people: by lever, what can be had here, and why the rest cannot."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO

from autotune.records import Choice, Device, Fidelity
from autotune.report.words import console_for

#: Longer ids have their description on the next line.
_WIDEST_ID = 26
#: A list of more choices than this is printed once.
_LONG = 4
#: What the table of the README is made for: on a CPU nothing is tried out.
_NOWHERE = Device(kind="cpu", uuid="", name="", total_bytes=0, free_bytes=0)


def print_levers(
    choices: Sequence[Choice],
    device: Device,
    model: str | None,
    stream: TextIO,
    *,
    available_only: bool = False,
) -> None:
    """Print every lever with its choices: a line for each that can be had, the rest by reason."""
    from autotune.levers import load_levers

    console = console_for(stream)
    whats = {name: lever.what for name, lever in load_levers().items()}
    console.print(f"levers for {model} on {device.name}" if model else f"levers for {device.name}")
    for name, group in itertools.groupby(choices, lambda choice: choice.lever):
        found = list(group)
        console.print()
        console.print(f"{name}: {whats.get(name, '')}", style="bold")
        for line in _lever_lines(found, console.width, available_only):
            console.print(line, soft_wrap=True)
    console.print()
    here = sum(choice.unavailable is None for choice in choices)
    console.print(f"{here} of {len(choices)} choices can be had here")
    console.print("* is how it is unless the lever is set")
    console.print("(close), (balanced), (any): pictures change, tried from that --quality on")
    if model is None:
        console.print("--model MODEL shows what that model can take")


def _lever_lines(choices: Sequence[Choice], width: int, available_only: bool) -> Iterator[str]:
    here = [choice for choice in choices if choice.unavailable is None]
    column = max((len(choice.id) for choice in here if len(choice.id) <= _WIDEST_ID), default=0)
    for choice in here:
        start = f"{'* ' if choice.baseline else '  '}{choice.id:{column}}"
        yield from _wrapped(start, _described(choice), column + 4, width)
    if available_only:
        return
    missing: dict[str, list[str]] = {}
    for choice in choices:
        if choice.unavailable is not None:
            missing.setdefault(choice.unavailable, []).append(choice.id)
    for reason, ids in missing.items():
        yield from _wrapped("  not here:", f"{' '.join(ids)} – {reason}", 4, width)


def _described(choice: Choice) -> str:
    if choice.fidelity is Fidelity.EXACT:
        return choice.what
    return f"{choice.what} ({choice.fidelity})"


def _wrapped(start: str, text: str, indent: int, width: int) -> list[str]:
    """The text behind its start, with further lines indented; a long start stands by itself."""
    lines = textwrap.wrap(
        f"{start:{indent - 2}}  {text}" if len(start) < indent else f"{start} {text}",
        width,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return lines or [start]


def markdown_table() -> str:
    """The table of the README: built-in levers in order of application, wherever it is made."""
    from autotune.levers import is_built_in, load_levers

    rows = ["| lever | what it sets | choices |", "|---|---|---|"]
    told: dict[str, str] = {}
    for name, lever in load_levers().items():
        if is_built_in(lever):
            choices = lever.choices(_NOWHERE, None)
            listed = _by_fidelity(choices)
            same = f"as `{told[listed]}`" if listed in told else listed
            if len(choices) > _LONG:
                told.setdefault(listed, name)
            rows.append(f"| `{name}` | {lever.what} | {same} |")
    return "\n".join(rows)


def _by_fidelity(choices: Sequence[Choice]) -> str:
    """The baseline, what keeps pictures as they are, then by how much the others change them."""
    parts = []
    for level in Fidelity:
        found = [choice for choice in choices if choice.fidelity is level]
        found.sort(key=lambda choice: not choice.baseline)
        listed = ", ".join(f"`{choice.id}`" for choice in found)
        if found:
            parts.append(listed if level is Fidelity.EXACT else f"*{level}:* {listed}")
    return "; ".join(parts)
