"""The card, an engine on it, and trials of small pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.engine.local import LocalEngine
from autotune.models.resolve import resolve
from autotune.probe import probe_machine
from autotune.records import Choice, Device, Effort, InspectSpec, Model, Outcome, TrialSpec
from tests.contract.pairs import WORKLOAD
from tests.trial.bench import fitted, tiny_model

_ONCE = Effort(name="gpu", warmups=1, samples=2)


@pytest.fixture(scope="session")
def card() -> Device:
    """The first CUDA card; with ``AUTOTUNE_GPU_DRY_RUN=1`` the CPU, to try the tests."""
    wanted = "cpu" if os.environ.get("AUTOTUNE_GPU_DRY_RUN") else "cuda"
    cards = [device for device in probe_machine().devices if device.kind == wanted]
    if not cards:
        pytest.fail("tox -e gpu needs a CUDA card, and there is none")
    return cards[0]


@pytest.fixture(scope="session")
def engine(card: Device, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    running = LocalEngine(
        device=card, pipeline="FluxPipeline", folder=tmp_path_factory.mktemp("engine")
    )
    yield running
    running.close()


@pytest.fixture(scope="session")
def offered(
    engine: LocalEngine, card: Device, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Choice, ...]]:
    """What every lever offers a pipeline on the card, asked once."""
    found: dict[str, tuple[Choice, ...]] = {}

    def ask(name: str) -> tuple[Choice, ...]:
        if name not in found:
            folder = tmp_path_factory.mktemp("inspect") / name
            found[name] = engine.inspect(
                InspectSpec(model=model_of(name), device=card), folder
            ).choices
        return found[name]

    return ask


@pytest.fixture(scope="session")
def tried(
    engine: LocalEngine, card: Device, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Outcome]:
    """Run one candidate of a pipeline to its outcome."""
    prepared = tmp_path_factory.mktemp("prepared")

    def go(name: str, choices: dict[str, str], folder: Path, **changes: object) -> Outcome:
        model = model_of(name)
        spec = TrialSpec(
            trial="one",
            purpose="screen",
            model=model,
            choices=choices,
            workload=model.workload,
            device=card,
            effort=_ONCE,
            budget_bytes=None,
            deadline_s=240,
            prepared=str(prepared / name),
        )
        engine.submit(spec.but(**changes), folder)
        while True:
            for event in engine.poll(0.5):
                if isinstance(event, Outcome):
                    return event

    return go


def model_of(name: str) -> Model:
    """The embedded model or a tiny pipeline, with a workload that a card does in a moment."""
    found = resolve("demo") if name == "demo" else tiny_model(name)
    return found.but(workload=fitted(name, WORKLOAD))
