"""Which prompt and which seed each sample has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from autotune.records import Workload
from autotune.trial.generate import caller
from autotune.trial.pictures import MOST_PICTURES


class Pipe:
    """Answers with what it was asked for."""

    def __call__(self, prompt: str, generator: Any, num_images_per_prompt: int = 1) -> Any:
        every = generator if isinstance(generator, list) else [generator]
        return prompt, tuple(one.initial_seed() for one in every)


def test_the_pictures_compared_are_of_two_prompts_and_two_seeds_each() -> None:
    generate = caller(Pipe(), Workload(prompts=("a fox", "a boat"), seed=7))
    made = [generate(number) for number in range(MOST_PICTURES)]
    assert Counter(prompt for prompt, _ in made) == {"a fox": 2, "a boat": 2}
    assert [seeds for _, seeds in made] == [(7,), (8,), (9,), (10,)]


@pytest.mark.parametrize("prompts", [("a",), ("a", "b"), ("a", "b", "c")])
def test_the_first_two_samples_differ_by_their_seeds_alone(prompts: tuple[str, ...]) -> None:
    """Whether another seed gives another picture is asked of these two."""
    generate = caller(Pipe(), Workload(prompts=prompts))
    (first, seed), (second, other) = generate(0), generate(1)
    assert first == second == "a"
    assert seed != other
    assert {generate(number)[0] for number in range(2 * len(prompts))} == set(prompts)


def test_every_picture_of_a_batch_has_a_seed_that_no_sample_has() -> None:
    generate = caller(Pipe(), Workload(prompts=("a",), batch=3))
    seeds = [seed for number in range(20) for seed in generate(number)[1]]
    assert len(set(seeds)) == 60
