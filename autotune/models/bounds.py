"""Which workloads a model takes: sizes, steps and counts checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.errors import BadInput, shorten
from autotune.records import Model, Workload

#: Every family's VAE and patch strides divide this (levers.md D2, D3).
_MULTIPLE = 16
#: Four times the side any family of the catalogue was trained at.
_LARGEST_SIDE = 8192
_MOST_STEPS = 1000
_MOST_BATCH = 256
_MOST_FRAMES = 2000
_LONGEST_PROMPT = 10_000


def check_workload(model: Model, changes: Mapping[str, Any]) -> Workload:
    """The model's default workload with some fields changed.

    Raises:
        BadInput: Naming the field, the value and what is allowed.
    """
    workload = model.workload.but(**changes)
    for name in ("height", "width"):
        _check_side(name, getattr(workload, name))
    _check_count("steps", workload.steps, _MOST_STEPS)
    _check_count("batch", workload.batch, _MOST_BATCH)
    if workload.frames is not None:
        if model.workload.frames is None:
            raise BadInput(f"{model.id} makes pictures, it takes no frames")
        _check_count("frames", workload.frames, _MOST_FRAMES)
    for prompt in workload.prompts:
        _check_prompt(prompt)
    return workload


def _check_side(name: str, value: int) -> None:
    if value < _MULTIPLE or value > _LARGEST_SIDE or value % _MULTIPLE:
        near = min(max(round(value / _MULTIPLE), 1) * _MULTIPLE, _LARGEST_SIDE)
        raise BadInput(
            f"a {name} of {value} pixels cannot be generated",
            hint=f"multiples of {_MULTIPLE} up to {_LARGEST_SIDE}, for example {near}",
        )


def _check_count(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise BadInput(f"{name} cannot be {value}", hint=f"1 to {most}")


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise BadInput("the prompt is empty")
    if len(prompt) > _LONGEST_PROMPT:
        raise BadInput(
            f"the prompt has {len(prompt)} characters", hint=f"at most {_LONGEST_PROMPT}"
        )
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(f"the prompt {shorten(prompt)} is not valid Unicode") from None
    if "\0" in prompt:
        raise BadInput("the prompt holds a NUL character")
