"""Workloads that a model takes, and those refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.models.bounds import check_workload
from autotune.recipe.read import read_recipe
from autotune.recipe.write import write_recipe
from tests.recipe.factory import make_recipe
from tests.search.factory import make_model

PICTURES = make_model()
VIDEOS = make_model(workload=PICTURES.workload.but(frames=17))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"height": 16, "width": 8192},
        {"steps": 1},
        {"steps": 1000, "batch": 256},
        {"guidance": 0.0, "max_sequence_length": 512},
        {"prompts": ("a", "b")},
        {"prompts": ["a", "b"]},
        {"prompts": ("מימין לשמאל", "🦊" * 1000, "-- $(x); `y`", "x" * 4096)},
        {"seed": 0},
    ],
)
def test_what_a_model_can_be_asked_for_is_taken_as_it_is(changes: dict[str, Any]) -> None:
    workload = check_workload(PICTURES, changes)
    for name, value in changes.items():
        assert getattr(workload, name) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"height": 0}, "height of 0 pixels", "multiples of 16 up to 8192, for example 16"),
        ({"height": -8}, "height of -8 pixels", "for example 16"),
        ({"width": 511}, "width of 511 pixels", "for example 512"),
        ({"width": 1_000_000}, "width of 1000000 pixels", "for example 8192"),
        ({"steps": 0}, "steps cannot be 0", "1 to 1000"),
        ({"steps": 1001}, "steps cannot be 1001", "1 to 1000"),
        ({"batch": 0}, "batch cannot be 0", "1 to 256"),
        ({"batch": 257}, "batch cannot be 257", "1 to 256"),
        ({"max_sequence_length": 0}, "max_sequence_length cannot be 0", "1 to 4096"),
        ({"seed": -1}, "seed cannot be -1", "0 to"),
        ({"seed": 2**64}, "seed cannot be", "0 to"),
        ({"frames": 16}, "makes pictures, it takes no frames", "leave --frames out"),
        ({"prompts": ()}, "the number of prompts cannot be 0", "1 to 256"),
        ({"prompts": ("x",) * 257}, "the number of prompts cannot be 257", "1 to 256"),
        ({"prompts": ("",)}, "the prompt is empty", "--prompt"),
        ({"prompts": ("fine", " \n")}, "the prompt is empty", "--prompt"),
        ({"prompts": ("x" * 4097,)}, "the prompt has 4097 characters", "at most 4096"),
        ({"prompts": ("a\0b",)}, "holds a NUL", "leave it out"),
        ({"prompts": ("a\ud800",)}, "is not valid Unicode", "UTF-8"),
        ({"prompts": "one"}, "prompts cannot be 'one'", "tuple"),
        ({"steps": "8"}, "steps cannot be '8'", "integer"),
        ({"steps": 1.5}, "steps cannot be 1.5", "integer"),
        ({"steps": True}, "steps cannot be True", "integer"),
        ({"guidance": float("nan")}, "guidance cannot be nan", "finite"),
        ({"step": 8}, "a workload has no 'step'", "did you mean steps?"),
        ({"sampler": "x"}, "a workload has no 'sampler'", "it has batch, frames"),
    ],
)
def test_what_cannot_be_generated_is_refused_naming_field_value_and_what_can(
    changes: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check_workload(PICTURES, changes)
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_frames_are_counted_for_a_model_that_makes_videos() -> None:
    assert check_workload(VIDEOS, {"frames": 81}).frames == 81
    with pytest.raises(BadInput, match="frames cannot be 0"):
        check_workload(VIDEOS, {"frames": 0})


def test_the_largest_workload_that_is_taken_can_stand_in_a_recipe(tmp_path: Path) -> None:
    workload = check_workload(
        VIDEOS,
        {
            "height": 8192,
            "width": 8192,
            "steps": 1000,
            "batch": 256,
            "frames": 2000,
            "seed": 2**63,
            "prompts": ("🦊" * 4096, *("x",) * 255),
        },
    )
    write_recipe(make_recipe(workload=workload), tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json").workload == workload
