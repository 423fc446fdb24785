"""What only a CUDA card can show: the budget binds, memory is read, the zygote may fork.

Run with ``tox -e gpu`` on a machine with a card; figures belong into ``tests/benchmarks/results``.
"""

from __future__ import annotations

import pytest

from autotune.status import Status

pytestmark = [pytest.mark.gpu, pytest.mark.trials]


def baseline(choices) -> dict[str, str]:
    return {choice.lever: choice.id for choice in choices if choice.baseline}


def test_importing_the_libraries_leaves_the_driver_alone(engine):
    assert engine._zygote.ready["driver_touched"] is False


def test_libraries_have_found_the_card_when_they_were_imported(offered):
    """Else 4-bit weights are unpacked by compiled Python: 25 s for one prompt, on an H200."""
    found = {one.id: one.unavailable for one in offered("demo") if one.id == "bnb-nf4"}
    assert found == {"bnb-nf4": None}


def test_a_forked_child_uses_the_card(offered, tried, tmp_path):
    outcome = tried("demo", baseline(offered("demo")), tmp_path / "trial")
    assert outcome.status is Status.MEASURED, outcome.message
    assert outcome.memory is not None
    assert outcome.memory.reserved_bytes > 0
    assert outcome.memory.peak_bytes >= outcome.memory.reserved_bytes


@pytest.mark.fault("T1", "T2")
def test_an_overrun_of_the_budget_is_a_real_out_of_memory(offered, tried, tmp_path):
    choices = baseline(offered("demo"))
    outcome = tried("demo", choices, tmp_path / "trial", budget_bytes=16 << 20)
    assert outcome.status is Status.OVER_BUDGET
