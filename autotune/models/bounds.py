"""Which workloads a model takes: sizes, steps and counts checked before anything is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from autotune.errors import BadInput, one_line, shorten
from autotune.records import Model, Workload

#: Every family's VAE and patch strides divide this (levers.md D2, D3).
_MULTIPLE = 16
#: Four times the side any family of the catalogue was trained at.
_LARGEST_SIDE = 8192
_MOST_STEPS = 1000
_MOST_BATCH = 256
_MOST_FRAMES = 2000
#: The longest text that a recipe may hold.
_LONGEST_PROMPT = 4096
_MOST_PROMPTS = 256
_LONGEST_SEQUENCE = 4096
#: Leaves room to count upwards from it, a sample at a time, in the 64 bits torch takes.
_LARGEST_SEED = 2**63


def check_workload(model: Model, changes: Mapping[str, Any]) -> Workload:
    """The model's default workload with some fields changed.

    Raises:
        BadInput: Naming the field, the value and what is allowed.
    """
    workload = _changed(model.workload, changes)
    for name in ("height", "width"):
        _check_side(name, getattr(workload, name))
    _check_count("steps", workload.steps, _MOST_STEPS)
    _check_count("batch", workload.batch, _MOST_BATCH)
    if workload.frames is not None:
        if model.workload.frames is None:
            raise BadInput(
                f"{model.id} makes pictures, it takes no frames", hint="leave --frames out"
            )
        _check_count("frames", workload.frames, _MOST_FRAMES)
    if workload.max_sequence_length is not None:
        _check_count("max_sequence_length", workload.max_sequence_length, _LONGEST_SEQUENCE)
    if not 0 <= workload.seed <= _LARGEST_SEED:
        raise BadInput(f"seed cannot be {workload.seed}", hint=f"0 to {_LARGEST_SEED}")
    _check_count("the number of prompts", len(workload.prompts), _MOST_PROMPTS)
    for prompt in workload.prompts:
        _check_prompt(prompt)
    return workload


def _changed(workload: Workload, changes: Mapping[str, Any]) -> Workload:
    known = set(type(workload).model_fields)
    for name in changes:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(known))}"
            raise BadInput(f"a workload has no {shorten(name)}", hint=hint)
    prompts = changes.get("prompts")
    if isinstance(prompts, list):
        changes = {**changes, "prompts": tuple(prompts)}
    try:
        return workload.but(**changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{first['loc'][0]} cannot be {shorten(first['input'])}",
            hint=one_line(first["msg"]).lower(),
        ) from None


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
        raise BadInput("the prompt is empty", hint='--prompt "a red fox in the snow"')
    if len(prompt) > _LONGEST_PROMPT:
        raise BadInput(
            f"the prompt has {len(prompt)} characters", hint=f"at most {_LONGEST_PROMPT}"
        )
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"the prompt {shorten(prompt)} is not valid Unicode", hint="write it in UTF-8"
        ) from None
    if "\0" in prompt:
        raise BadInput("the prompt holds a NUL character", hint="leave it out")
