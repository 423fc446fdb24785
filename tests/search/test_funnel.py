"""How many combinations there are, how many are legal, how many may fit."""

from __future__ import annotations

from autotune.estimate.profile import bare_profile
from autotune.search.admission import Admission
from autotune.search.funnel import count_funnel
from autotune.search.space import Space, every
from tests.search.factory import make_device, make_model, make_space

GIB = 1 << 30
HEAVY = make_model(
    components=(make_model().components[0].but(weight_bytes=8 * GIB, parameters=4 * GIB),)
)
SMALL_SPACE = {
    "dtype": ("bf16", "fp32"),
    "attention": ("native", "native-flash", "native-math"),
}


def admission(budget: int) -> Admission:
    return Admission(
        model=HEAVY,
        device=make_device(kind="cuda"),
        budget_bytes=budget,
        software={},
        profile=bare_profile(HEAVY),
    )


def test_a_small_space_is_counted_candidate_by_candidate() -> None:
    space, judge = make_space(SMALL_SPACE), admission(12 * GIB)
    legal = [one for one in every(space) if judge.broken(one) is None]
    found = count_funnel(space, judge)
    assert found.exact
    # fp32 does not go with flash attention, and is twice as large.
    assert (found.all, found.legal, found.may_fit) == (6, len(legal), 3)
    assert 3 < len(legal) < 6


def test_a_large_space_is_judged_by_a_sample_that_is_the_same_each_time() -> None:
    many = {f"lever{n}": ("a", "b", "c", "d") for n in range(9)} | SMALL_SPACE
    space: Space = make_space(many)
    judge = admission(12 * GIB)
    found = count_funnel(space, judge)
    assert not found.exact
    assert found == count_funnel(space, judge)
    small = count_funnel(make_space(SMALL_SPACE), judge)
    assert found.all == 4**9 * small.all
    assert abs(found.legal / found.all - small.legal / small.all) < 0.05
    assert abs(found.may_fit / found.all - small.may_fit / small.all) < 0.05


def test_a_budget_that_nothing_meets_leaves_none() -> None:
    assert count_funnel(make_space(SMALL_SPACE), admission(GIB)).may_fit == 0
