"""What every engine does with trials that run to their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.engine.base import Engine
from autotune.errors import CannotRun
from autotune.levers import load_levers
from autotune.records import InspectSpec, Outcome
from autotune.status import Status
from autotune.trial.wire import OUTCOME, SPEC, read_outcome
from tests.engine.driving import run
from tests.trial.bench import CPU, tiny_model, trial_spec

pytestmark = pytest.mark.trials

Folder = Callable[[], Path]
every_engine = pytest.mark.parametrize("engine", ["forked", "cold", "debug"], indirect=True)


@pytest.mark.parametrize("engine", ["forked", "debug"], indirect=True)
def test_levers_are_asked_where_the_libraries_are(engine: Engine, folder: Folder) -> None:
    spec = InspectSpec(model=tiny_model("sd15"), device=CPU)
    found = engine.inspect(spec, folder()).choices
    assert {choice.lever for choice in found} - {"chaos"} == set(load_levers()) - {"chaos"}
    reasons = {(choice.lever, choice.id): choice.unavailable for choice in found}
    assert reasons["channels-last", "denoiser"] is None
    assert "UNet2DConditionModel" in str(reasons["attention", "native-flash"])


@pytest.mark.parametrize(
    ("engine", "choices"),
    [("forked", ["off", "vae"]), ("debug", ["off", "vae"]), ("cold", ["vae"])],
    indirect=["engine"],
)
def test_trials_run_one_after_another_to_their_own_outcomes(
    engine: Engine, folder: Folder, choices: list[str]
) -> None:
    for number, choice in enumerate(choices):
        trial = f"{number:04d}"
        place = folder()
        spec = trial_spec(trial, choices={"channels-last": choice})
        steps, outcome = run(engine, spec, place)
        assert outcome.status is Status.MEASURED, outcome.message
        assert (outcome.trial, outcome.stage) == (trial, "done")
        assert list(outcome.engaged) == ["channels-last"]
        assert {step.trial for step in steps} == {trial}
        assert [step.stage for step in steps] == [
            *("load", "warmup", "denoise", "decode", "sample", "sample")
        ]
        assert steps[-1].facts["n"] == steps[-1].facts["of"] == 2
        times = [step.facts["at"] for step in steps]
        assert times == sorted(times, key=float)
        assert read_outcome(place, trial) == outcome
        assert (place / SPEC).exists()


@pytest.mark.parametrize("engine", ["forked", "debug"], indirect=True)
def test_a_combination_that_does_not_work_is_an_outcome(engine: Engine, folder: Folder) -> None:
    spec = trial_spec(model="flux", choices={"attention-slicing": "auto"})
    _, outcome = run(engine, spec, folder())
    assert (outcome.status, outcome.stage) == (Status.UNSUPPORTED, "load")
    assert "set_attention_slice" in outcome.message


@every_engine
def test_nothing_comes_of_polling_when_nothing_runs(engine: Engine) -> None:
    assert engine.poll(0.05) == []
    assert not engine.cancel("never submitted")
    assert engine.poll(0.05) == []


@every_engine
def test_a_folder_that_is_there_already_is_not_used_again(engine: Engine, folder: Folder) -> None:
    place = folder()
    place.mkdir(parents=True)
    with pytest.raises(FileExistsError):
        engine.submit(trial_spec(), place)
    assert not (place / OUTCOME).exists()
    assert not any(isinstance(event, Outcome) for event in engine.poll(0.1))


@pytest.mark.parametrize("engine", ["forked"], indirect=True)
def test_a_model_that_cannot_be_looked_at_is_said_in_a_sentence(
    engine: Engine, folder: Folder, tmp_path: Path
) -> None:
    model = tiny_model("sd15").but(folder=str(tmp_path / "gone"))
    with pytest.raises(CannotRun, match=r"the model cannot be looked at: .*Error"):
        engine.inspect(InspectSpec(model=model, device=CPU), folder())
