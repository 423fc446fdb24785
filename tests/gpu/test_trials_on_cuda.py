"""What only a CUDA card can show: the budget binds, memory is read, the zygote may fork.

Run with ``tox -e gpu`` on a machine with a card; figures belong into ``tests/benchmarks/results``.
"""

from __future__ import annotations

import pytest

from autotune.engine.local import LocalEngine
from autotune.models.resolve import resolve
from autotune.probe import probe_machine
from autotune.records import Effort, InspectSpec, Outcome, Status, TrialSpec

pytestmark = [pytest.mark.gpu, pytest.mark.trials]


@pytest.fixture(scope="module")
def card():
    cards = [device for device in probe_machine().devices if device.kind == "cuda"]
    if not cards:
        pytest.fail("tox -e gpu needs a CUDA card, and there is none")
    return cards[0]


@pytest.fixture(scope="module")
def engine(card, tmp_path_factory):
    running = LocalEngine(
        device=card, pipeline="FluxPipeline", folder=tmp_path_factory.mktemp("engine")
    )
    yield running
    running.close()


@pytest.fixture(scope="module")
def choices(engine, card, tmp_path_factory):
    spec = InspectSpec(model=resolve("demo"), device=card)
    return engine.inspect(spec, tmp_path_factory.mktemp("inspect") / "inspect").choices


def run(engine, card, folder, choices, budget_bytes=None) -> Outcome:
    model = resolve("demo")
    spec = TrialSpec(
        trial="0001",
        purpose="screen",
        model=model,
        choices=choices,
        workload=model.workload,
        device=card,
        effort=Effort(),
        budget_bytes=budget_bytes,
        deadline_s=120,
    )
    engine.submit(spec, folder / "trial")
    while True:
        for event in engine.poll(0.5):
            if isinstance(event, Outcome):
                return event


def baseline(choices) -> dict[str, str]:
    return {choice.lever: choice.id for choice in choices if choice.baseline}


def test_importing_the_libraries_leaves_the_driver_alone(engine):
    assert engine._zygote.ready["driver_touched"] is False


def test_a_forked_child_uses_the_card(engine, card, choices, tmp_path):
    outcome = run(engine, card, tmp_path, baseline(choices))
    assert outcome.status is Status.MEASURED, outcome.message
    assert outcome.memory is not None
    assert outcome.memory.reserved_bytes > 0
    assert outcome.memory.peak_bytes >= outcome.memory.reserved_bytes


def test_every_available_choice_engages_alone(engine, card, choices, tmp_path):
    start = baseline(choices)
    for number, choice in enumerate(one for one in choices if one.unavailable is None):
        tried = {**start, choice.lever: choice.id}
        outcome = run(engine, card, tmp_path / str(number), tried)
        # A kernel may refuse this tiny head size; what may not happen is a silent no-op.
        assert outcome.status in (Status.MEASURED, Status.UNSUPPORTED), (choice, outcome.message)


def test_an_overrun_of_the_budget_is_a_real_out_of_memory(engine, card, choices, tmp_path):
    outcome = run(engine, card, tmp_path, baseline(choices), budget_bytes=16 << 20)
    assert outcome.status is Status.OVER_BUDGET
