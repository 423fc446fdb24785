"""What the shortlist sampler proposes: never twice, never forbidden, and for a reason it gives."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.search.failures import Failures, failing_choices
from autotune.search.pool import Expected, Pool, Settings
from autotune.search.sampler import BUDGET, PEAK, UNTIMED_S, ShortlistSampler, why

Levers = Mapping[str, Sequence[str]]
LEVERS: Levers = {lever: tuple("0123") for lever in "abcdef"}


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def drive(
    sampler: ShortlistSampler,
    levers: Levers,
    answer: Callable[[Settings], tuple[float | None, float]],
    trials: int,
) -> list[optuna.trial.FrozenTrial]:
    """Run trials that end in seconds (or in failure) and take a share of the budget of 100."""
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials):
        if sampler.exhausted(study):
            break
        trial = study.ask()
        one = {lever: trial.suggest_categorical(lever, ids) for lever, ids in levers.items()}
        seconds, peak = answer(one)
        trial.set_constraint("runs", 1.0 if seconds is None else 0.0)
        trial.set_constraint(BUDGET, peak / 100 - 1)
        trial.set_user_attr(PEAK, peak)
        study.tell(trial, UNTIMED_S if seconds is None else seconds)
    return study.trials


def keys(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[str, ...]]:
    return [tuple(trial.params.values()) for trial in trials]


def product_of(one: Settings) -> float:
    """Each choice beyond the first takes a share off, later levers a larger one."""
    seconds = 10.0
    for number, (_, choice) in enumerate(sorted(one.items())):
        seconds *= 1 - 0.02 * (1 + number % 6) * int(str(choice))
    return seconds


@given(
    sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    listed=st.sampled_from([0, 1000]),
)
@settings(max_examples=40, deadline=None)
def test_nothing_is_proposed_twice_or_against_a_rule_and_all_is_tried_in_the_end(
    sizes: list[int], seed: int, listed: int
) -> None:
    levers = {f"l{n}": tuple(str(id) for id in range(size)) for n, size in enumerate(sizes)}
    lot = random.Random(seed)
    every = [dict(zip(levers, ids, strict=True)) for ids in itertools.product(*levers.values())]
    forbidden = [one for one in every[1:] if lot.random() < 0.3]
    ends = {tuple(one.values()): lot.choice(["fits", "large", "fails"]) for one in every}

    def answer(one: Settings) -> tuple[float | None, float]:
        end = ends[tuple(str(id) for id in one.values())]
        return (None if end == "fails" else lot.uniform(1, 2)), (130 if end == "large" else 60)

    sampler = ShortlistSampler(
        levers,
        foresee=lambda one: None if one in forbidden else Expected(lot.uniform(1, 2), 80.0),
        budget_bytes=100,
        starts=3,
        seed=seed,
        listed=listed,
    )
    tried = drive(sampler, levers, answer, len(every) + 1)
    found = keys(tried)
    assert len(set(found)) == len(found)
    assert not {tuple(one.values()) for one in forbidden} & set(found)
    if listed:
        assert len(found) == len(every) - len(forbidden)


def test_the_same_seed_and_outcomes_give_the_same_trials() -> None:
    def tried(seed: int) -> list[tuple[str, ...]]:
        sampler = ShortlistSampler(LEVERS, seed=seed, budget_bytes=100)
        return keys(drive(sampler, LEVERS, lambda one: (product_of(one), 50), 40))

    assert tried(3) == tried(3)


@pytest.mark.parametrize("listed", [0, 10_000])
def test_predictions_that_are_wrong_about_a_choice_are_seen_through(listed: int) -> None:
    def wrong(one: Settings) -> Expected:
        # Foreseen as the fastest, choice 3 of the last lever takes five times as long.
        return Expected(product_of(one), 50.0)

    def truth(one: Settings) -> tuple[float | None, float]:
        return product_of(one) * (5 if one["f"] == "3" else 1), 50

    sampler = ShortlistSampler(LEVERS, foresee=wrong, budget_bytes=100, seed=0, listed=listed)
    tried = drive(sampler, LEVERS, truth, 30)
    best = min(trial.value or 0.0 for trial in tried)
    every = (dict(zip(LEVERS, ids, strict=True)) for ids in itertools.product("0123", repeat=6))
    optimum = min(truth(one)[0] or 0.0 for one in every)
    assert best <= 1.10 * optimum


def test_without_predictions_most_of_the_way_is_found_in_forty_of_4096() -> None:
    sampler = ShortlistSampler(LEVERS, budget_bytes=100, seed=0, starts=4)
    tried = drive(sampler, LEVERS, lambda one: (product_of(one), 50), 40)
    optimum = product_of(dict.fromkeys(LEVERS, "3"))
    assert min(trial.value or 0.0 for trial in tried) <= 1.5 * optimum


def test_what_is_foreseen_too_large_is_left_for_what_fits() -> None:
    def size(one: Settings) -> float:
        return 40.0 + 10.0 * sum(int(str(id)) for id in one.values())

    sampler = ShortlistSampler(
        LEVERS,
        foresee=lambda one: Expected(product_of(one), size(one)),
        budget_bytes=100,
        seed=0,
    )
    tried = drive(sampler, LEVERS, lambda one: (product_of(one), size(one)), 20)
    fits = [trial for trial in tried if size(trial.params) <= 100]
    assert len(fits) >= 7  # by lot it would be four
    # Six steps fit, which are best spent on the last two levers.
    best = {**dict.fromkeys(LEVERS, "0"), "e": "3", "f": "3"}
    assert min(trial.value or 0.0 for trial in fits) <= 1.05 * product_of(best)


def test_a_pair_that_failed_twice_is_left_alone_while_anything_else_is_left() -> None:
    def answer(one: Settings) -> tuple[float | None, float]:
        return (None if one["a"] == one["b"] == "3" else product_of(one)), 50

    sampler = ShortlistSampler(
        LEVERS, foresee=lambda one: Expected(product_of(one), 50.0), budget_bytes=100, seed=0
    )
    tried = drive(sampler, LEVERS, answer, 40)
    failed = [trial for trial in tried if trial.params["a"] == trial.params["b"] == "3"]
    assert 1 <= len(failed) <= 2


def test_only_what_no_success_clears_is_suspected() -> None:
    failed = [np.array([1, 1, 0]), np.array([1, 1, 2])]
    failures = Failures(failed, np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 2], [0, 1, 2]]))
    assert failures.excluded == ((0, 1, 1, 1),)
    chances = failures.sound(np.array([[1, 1, 1], [1, 0, 1], [0, 1, 2]]))
    assert chances[0] < 0.01
    assert chances[1:] == pytest.approx([1.0, 1.0])


def test_the_pair_that_all_failures_share_is_named_and_no_baseline_is() -> None:
    plain = dict.fromkeys("abc", "0")
    failed = [{**plain, "a": "1", "b": "1"}, {**plain, "a": "1", "b": "1", "c": "2"}]
    sound = [plain, {**plain, "a": "1"}, {**plain, "b": "1"}, {**plain, "a": "1", "c": "2"}]
    assert failing_choices(failed, sound, plain) == [{"a": "1", "b": "1"}]
    assert failing_choices(failed[:1], sound, plain) == []
    assert failing_choices(failed, [*sound, {**failed[0], "c": "1"}], plain) == []


def test_a_choice_that_never_works_is_blamed_alone_and_not_its_company() -> None:
    plain = dict.fromkeys("abc", "0")
    failed = [{**plain, "a": "1", "b": "1"}, {**plain, "a": "1", "b": "1", "c": "2"}]
    # Where both always failed together, either or the pair may be at fault.
    assert failing_choices(failed, [plain], plain) == [{"a": "1", "b": "1"}]
    assert failing_choices([*failed, {**plain, "a": "1"}], [plain], plain) == [{"a": "1"}]
    others = [{**plain, "b": "2", "c": "1"}, {**plain, "b": "2", "c": "2"}]
    sound = [plain, {**plain, "c": "2"}]
    assert failing_choices([*failed, *others], sound, plain) == [{"b": "2"}, {"a": "1", "b": "1"}]


def test_each_trial_says_why_and_a_neighbour_differs_by_the_lever_it_names() -> None:
    sampler = ShortlistSampler(
        LEVERS,
        foresee=lambda one: Expected(product_of(one), 50.0),
        budget_bytes=100,
        given=[dict.fromkeys(LEVERS, "1")],
        starts=4,
        seed=0,
    )
    lot = random.Random(0)
    tried = drive(sampler, LEVERS, lambda one: (product_of(one) * lot.uniform(1, 1.5), 50), 60)
    reasons = [str(why(trial)) for trial in tried]
    assert reasons[:2] == ["baseline", "start, given"]
    assert reasons[2:5] == ["start"] * 3
    assert "TPE" in reasons
    neighbours = [one for one in tried if str(why(one)).startswith("neighbour of #")]
    assert neighbours
    for trial in neighbours:
        number, lever = str(why(trial)).removeprefix("neighbour of #").split(" by ")
        other = tried[int(number)].params
        assert [name for name in LEVERS if trial.params[name] != other[name]] == [lever]


def test_of_two_that_promise_alike_the_one_that_is_prepared_is_tried() -> None:
    levers = {"compile": ("off", "on", "max"), "layout": ("plain", "last")}

    def foresee(one: Settings) -> Expected | None:
        if one == {"compile": "max", "layout": "last"}:
            return None
        return Expected({"off": 2.0, "on": 1.0, "max": 0.991}[str(one["compile"])], 50.0)

    def answer(one: Settings) -> tuple[float | None, float]:
        expected = foresee(one)
        return (expected.latency_s if expected else None), 50

    def third(prepares: Callable[[Settings], Sequence[str]]) -> object:
        sampler = ShortlistSampler(
            levers,
            foresee=foresee,
            budget_bytes=100,
            given=[{"compile": "on", "layout": "plain"}],
            starts=0,
            prepares=prepares,
            seed=0,
        )
        tried = drive(sampler, levers, answer, 3)
        return tried[2].params["compile"]

    def graphs(one: Settings) -> Sequence[str]:
        return () if one["compile"] == "off" else (str(one["compile"]),)

    assert third(lambda _: ()) == "max"
    assert third(graphs) == "on"


def test_a_large_space_is_not_listed() -> None:
    asked = []

    def foresee(one: Settings) -> Expected:
        asked.append(one)
        return Expected(product_of(one), 50.0)

    levers = {f"l{n:02}": tuple("0123") for n in range(20)}
    sampler = ShortlistSampler(levers, foresee=foresee, budget_bytes=100, seed=0)
    drive(sampler, levers, lambda one: (product_of(one), 50), 10)
    assert len(asked) < 10_000


def test_a_pool_mends_a_forbidden_neighbour_by_giving_another_lever_up() -> None:
    levers = {"a": ("0", "1"), "b": ("0", "1"), "c": ("0", "1")}

    def foresee(one: Settings) -> Expected | None:
        return None if one["a"] == one["b"] == "1" else Expected()

    pool = Pool(levers, dict.fromkeys(levers, "0"), foresee, listed=0)
    start = pool.find({"a": "1", "b": "0", "c": "0"})
    assert start is not None
    pool.surround(start)
    known = [pool.candidate(number) for number in range(len(pool))]
    assert {"a": "0", "b": "1", "c": "0"} in known
    assert {"a": "1", "b": "1", "c": "0"} not in known


def test_of_two_that_promise_alike_the_one_that_compiles_sooner_is_tried() -> None:
    levers = {"compile": ("off", "blocks", "whole")}
    seconds, starts = {"off": 2.0, "blocks": 1.0, "whole": 0.991}, {"blocks": 10.0, "whole": 300.0}

    def first(starts: dict[str, float]) -> object:
        def foresee(one: Settings) -> Expected:
            id = str(one["compile"])
            return Expected(seconds[id], 50.0, starts.get(id, 0.0))

        sampler = ShortlistSampler(
            levers,
            foresee=foresee,
            budget_bytes=100,
            starts=0,
            prepares=lambda one: () if one["compile"] == "off" else (str(one["compile"]),),
            seed=0,
        )
        tried = drive(sampler, levers, lambda one: (seconds[str(one["compile"])], 50), 2)
        return tried[1].params["compile"]

    assert first(starts) == "blocks"
    assert first({}) == "whole"
