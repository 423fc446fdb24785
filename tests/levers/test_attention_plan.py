"""attention and attention-slicing: what they plan of scores, against what torch writes down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from autotune.levers import attention
from autotune.records import Workload
from autotune.trial import generate
from tests.levers.built import built, card, planned
from tests.trial.bench import SMALL, tiny_model

pytestmark = pytest.mark.trials


@contextmanager
def written(*operations: str) -> Iterator[list[Any]]:
    """What torch's operations of these names give."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[Any] = []

    def note(_: Any, func: Any, __: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if str(func) in operations:
            found.append(result)
        return result

    with type("Noting", (TorchDispatchMode,), {"__torch_dispatch__": note})():
        yield found


def test_only_the_plain_formula_plans_scores_and_flex_where_it_is_not_compiled() -> None:
    plain = planned("flux")
    for one in attention.choices(card(), None):
        found = planned("flux", attention=one.id)
        assert (found.scores > 0) is (one.id == "native-math")
        assert (found.scores_uncompiled > 0) is (one.id == "flex")
        assert found.but(scores=0.0, scores_uncompiled=0.0) == plain


@pytest.mark.parametrize(("dtype", "wider"), [("bf16", 2.0), ("fp16", 2.0), ("fp32", 1.0)])
def test_the_plain_formula_writes_scores_as_32_bit_floats(dtype: str, wider: float) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    names = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    query = torch.zeros(1, 2, 24, 16, dtype=names[dtype])
    with sdpa_kernel(SDPBackend.MATH), written("aten.bmm.default") as products:
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
    (scores,) = (one for one in products if one.shape[-2:] == (24, 24))
    assert scores.dtype is torch.float32
    plan = planned("flux", dtype=dtype, attention="native-math")
    assert plan.scores == wider == scores.element_size() / query.element_size()


@pytest.mark.parametrize(
    ("choice", "workload"),
    [
        ("auto", SMALL),
        ("max", SMALL),
        ("auto", SMALL.but(guidance=1.0)),
        ("auto", SMALL.but(batch=2)),
    ],
)
def test_a_slice_is_planned_as_large_as_it_is(choice: str, workload: Workload) -> None:
    target = built("sd15", workload, attention_slicing=choice)
    with written("aten.baddbmm.default") as slices:
        generate.caller(target.pipe, workload)(0)
    heads = target.denoiser.config.attention_head_dim
    at_once = max(len(one) for one in slices)
    halves = 1 if workload.guidance == 1.0 else 2
    share = at_once / (heads * workload.batch * halves)
    model = tiny_model("sd15").but(workload=workload)
    plan = planned(model, attention_slicing=choice)
    if choice == "auto":
        assert plan.scores == share
    else:
        # It is planned for eight heads, and the tiny model has four.
        assert at_once == 1
        assert plan.scores == share * heads / 8
    assert planned(model, attention_slicing="off") == planned(model)
