"""``autotune levers`` for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from autotune.records import Choice, Device, Fidelity
from autotune.report.words import console_for


def print_levers(
    choices: Sequence[Choice], device: Device, model: str | None, stream: TextIO
) -> None:
    """Print a table: lever, choice, what it is, and whether it can be had here."""
    from rich import box
    from rich.table import Table

    from autotune.levers import load_levers

    console = console_for(stream)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("lever", "choice", "what it is", "here"):
        table.add_column(column, overflow="fold")
    whats = {name: lever.what for name, lever in load_levers().items()}
    last = None
    for choice in choices:
        if choice.lever != last:
            if last is not None:
                table.add_section()
            table.add_row(choice.lever, "", whats[choice.lever], "")
            last = choice.lever
        table.add_row("", choice.id, choice.what, _here(choice))
    subject = f"{model} on {device.name}" if model else device.name
    console.print(f"levers for {subject}")
    console.print(table)
    if model is None:
        console.print("--model MODEL shows what that model can take")


def _here(choice: Choice) -> str:
    if choice.unavailable is not None:
        return f"no: {choice.unavailable}"
    marks = ["yes"]
    if choice.baseline:
        marks.append("baseline")
    if choice.fidelity is not Fidelity.EXACT:
        marks.append(f"from --quality {choice.fidelity} on")
    return ", ".join(marks)
