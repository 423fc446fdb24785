"""A trial in its child process: what is measured, and what each misfortune is called."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.engine.local import LocalEngine
from autotune.levers.mechanisms.compiler import plain_folder
from autotune.records import Effort, Outcome
from autotune.status import Status
from autotune.trial.wire import LOG, SPEC, read_outcome, write_record
from autotune.units import format_bytes
from tests.engine.driving import run, trial_processes
from tests.stubs.chaos.chaos_lever import SHARED_BYTES
from tests.trial.bench import ROOT, SHORT, SMALL, python_path, tiny_model, trial_spec
from tests.trial.test_quiet import busy_processors

pytestmark = pytest.mark.trials

Runs = Callable[..., tuple[Outcome, Path]]
MIB = 1 << 20


def test_everything_is_measured(run_in_child: Runs) -> None:
    choices = {"dtype": "fp32", "vae-tiling": "off", "attention-slicing": "max"}
    outcome, folder = run_in_child(choices=choices, effort=Effort(warmups=2, samples=3))
    assert outcome.status is Status.MEASURED, outcome.message
    assert (outcome.stage, outcome.message) == ("done", "")
    assert len(outcome.samples_s) == 3
    assert len(set(outcome.samples_s)) == 3, "raw samples, not one repeated"
    assert len(outcome.warmups_s) == 2
    assert outcome.first_s == outcome.warmups_s[0]
    assert len(outcome.forwards_s) == 2, "one a step, of the watched call alone"
    assert list(outcome.phases_s) == ["encode", "denoise", "decode"]
    assert min(outcome.phases_s.values()) > 0
    assert abs(sum(outcome.phases_s.values()) - outcome.warmups_s[1]) < 0.05
    assert sum(outcome.forwards_s) <= outcome.phases_s["denoise"]
    assert outcome.memory is not None
    assert list(outcome.memory.phases) == [
        *("load", "first call", "encode", "denoise", "decode", "whole call")
    ]
    assert outcome.memory.peak_bytes == max(outcome.memory.phases.values()) > 0
    model = tiny_model("sd15")
    assert outcome.weights.keys() >= {"unet", "vae", "text_encoder"}
    for name in ("unet", "vae"):
        part = model.component(name)
        assert part is not None
        assert outcome.weights[name] == part.parameters * 4
    assert set(outcome.engaged) == set(choices)
    assert all(evidence.engaged for evidence in outcome.engaged.values())
    assert outcome.health is not None
    assert outcome.health.finite
    assert outcome.health.differs_by_seed is True
    assert outcome.health.deviation > 0.01
    assert (folder / str(outcome.health.picture)).read_bytes().startswith(b"\x89PNG")
    timed = sum(outcome.samples_s) + sum(outcome.warmups_s) + (outcome.load_s or 0)
    assert timed < outcome.seconds


def test_half_the_bytes_are_seen_in_the_weights(run_in_child: Runs) -> None:
    full, _ = run_in_child(choices={"dtype": "fp32"})
    half, _ = run_in_child(choices={"dtype": "bf16"})
    assert half.status is Status.MEASURED
    assert half.weights["unet"] * 2 == full.weights["unet"]


@pytest.mark.fault("T2")
@pytest.mark.parametrize(
    ("chaos", "stage"), [("allocation", "load"), ("allocation-in-sample", "sample")]
)
def test_an_overrun_of_the_budget_is_stopped(run_in_child: Runs, chaos: str, stage: str) -> None:
    outcome, _ = run_in_child(chaos, budget_bytes=400 * MIB)
    assert (outcome.status, outcome.stage) == (Status.OVER_BUDGET, stage)
    assert "allocate memory" in outcome.message
    outcome, _ = run_in_child("allocation", budget_bytes=None)
    assert outcome.status is Status.MEASURED, "it was the budget, not the machine"


@pytest.mark.fault("T2")
def test_an_overrun_that_could_not_be_stopped_is_judged(run_in_child: Runs) -> None:
    outcome, _ = run_in_child("shared-memory-in-warmup", budget_bytes=SHARED_BYTES)
    assert (outcome.status, outcome.stage) == (Status.OVER_BUDGET, "sample")
    assert len(outcome.samples_s) == 2
    assert outcome.memory is not None
    assert outcome.memory.peak_bytes > SHARED_BYTES
    peak = outcome.memory.peak_bytes
    phase = max(outcome.memory.phases, key=lambda one: outcome.memory.phases[one])  # type: ignore[union-attr]
    assert outcome.message == (
        f"took {format_bytes(peak)} during {phase}, {format_bytes(peak - SHARED_BYTES)} more than "
        "allowed"
    )
    assert outcome.memory.phases["load"] < SHARED_BYTES, "it was held from the warm-up on"
    outcome, _ = run_in_child("off", budget_bytes=SHARED_BYTES)
    assert outcome.status is Status.MEASURED, "without the overrun it fits"


@pytest.mark.fault("T1")
@pytest.mark.parametrize(
    ("chaos", "stage"),
    [("cuda-oom", "load"), ("cuda-oom-in-warmup", "denoise"), ("cuda-oom-in-sample", "sample")],
)
def test_running_out_of_memory_is_known_by_its_stage(
    run_in_child: Runs, chaos: str, stage: str
) -> None:
    outcome, _ = run_in_child(chaos)
    assert (outcome.status, outcome.stage) == (Status.OUT_OF_VRAM, stage)
    assert outcome.message.startswith("OutOfMemoryError: CUDA out of memory.")
    assert outcome.memory is not None
    assert bool(outcome.warmups_s) is (stage == "sample"), "what was measured is kept"


@pytest.mark.fault("T3", "T15", "T16", "T18")
@pytest.mark.parametrize(
    ("chaos", "status", "message"),
    [
        ("memory-error", Status.OUT_OF_RAM, "MemoryError: "),
        ("error", Status.UNSUPPORTED, "RuntimeError: chaos reigns"),
        ("error-in-sample", Status.UNSUPPORTED, "RuntimeError: chaos reigns"),
        ("without-effect", Status.NOT_APPLIED, "chaos=without-effect: chaos: without-effect"),
        ("nan", Status.BAD_OUTPUT, "100% of the picture is NaN or infinite"),
        ("flat", Status.BAD_OUTPUT, "the picture is flat (standard deviation 0)"),
        ("same-picture", Status.BAD_OUTPUT, "two seeds gave the same picture"),
    ],
)
def test_a_misfortune_has_its_name(
    run_in_child: Runs, chaos: str, status: Status, message: str
) -> None:
    outcome, folder = run_in_child(chaos)
    assert (outcome.status, outcome.message) == (status, message)
    if "NaN" in message or "flat" in message:
        assert outcome.health is not None
        assert outcome.health.picture is None
        assert not (folder / "picture.png").exists()
        assert outcome.health.finite is ("NaN" not in message)


def test_a_call_that_would_not_end_in_time_is_given_up_with_an_outcome(
    run_in_child: Runs,
) -> None:
    outcome, _ = run_in_child("hang-in-warmup", deadline_s=5.0)
    assert (outcome.status, outcome.stage) == (Status.TOO_SLOW, "denoise")
    assert outcome.message == "the deadline of 5 s was reached"
    assert outcome.seconds < 5.0


def test_a_candidate_that_cannot_win_is_sampled_once(run_in_child: Runs) -> None:
    outcome, _ = run_in_child(effort=Effort(warmups=1, samples=5), give_up_above_s=1e-6)
    assert outcome.status is Status.MEASURED
    assert len(outcome.samples_s) == 1
    assert outcome.health is not None
    assert outcome.health.differs_by_seed is True


def test_samples_that_take_no_time_are_made_until_they_took_as_long_as_they_should(
    run_in_child: Runs,
) -> None:
    outcome, _ = run_in_child(effort=Effort(warmups=1, samples=2, least_s=0.3))
    assert outcome.status is Status.MEASURED, outcome.message
    assert len(outcome.samples_s) > 2
    assert sum(outcome.samples_s[:-1]) < 0.3
    assert sum(outcome.samples_s) >= 0.3 or len(outcome.samples_s) == 100


def test_a_generation_whose_steps_alone_take_too_long_is_ended(run_in_child: Runs) -> None:
    hopeless: dict[str, object] = {
        "workload": SMALL.but(steps=400),
        "effort": Effort(warmups=1, samples=5),
        "give_up_above_s": 1e-6,
    }
    outcome, _ = run_in_child(**hopeless)
    assert (outcome.status, outcome.stage) == (Status.TOO_SLOW, "denoise")
    assert outcome.message.startswith("its 400 steps alone take ")
    # The first two say nothing; of the next at least three, and 0.3 s of them.
    later = outcome.forwards_s[2:]
    assert 3 <= len(later) < 398
    assert sum(later) >= 0.3
    assert sum(later[:-1]) < 0.3 or len(later) == 3
    assert outcome.samples_s == ()


def test_a_screen_of_few_steps_reckons_the_others_from_those_it_ran(run_in_child: Runs) -> None:
    outcome, _ = run_in_child(
        workload=SMALL.but(steps=24), effort=Effort(warmups=1, samples=2, steps=8)
    )
    assert outcome.status is Status.MEASURED, outcome.message
    assert len(outcome.forwards_s) == 8
    step_s = statistics.median(outcome.forwards_s[2:])
    assert outcome.left_out_s == pytest.approx(16 * step_s)
    whole, _ = run_in_child(workload=SMALL.but(steps=24))
    assert len(whole.forwards_s) == 24
    assert whole.left_out_s == 0.0


def test_a_cached_generation_is_never_ended_by_its_first_steps(run_in_child: Runs) -> None:
    outcome, _ = run_in_child(
        model="flux",
        choices={"cache": "taylorseer-3"},
        workload=SMALL.but(steps=100),
        effort=Effort(warmups=1, samples=5),
        give_up_above_s=1e-6,
    )
    assert outcome.status is Status.MEASURED, outcome.message
    assert len(outcome.samples_s) == 1


@pytest.mark.fault("T2")
def test_what_exceeds_the_budget_once_it_is_loaded_is_not_run(run_in_child: Runs) -> None:
    outcome, _ = run_in_child("shared-memory", budget_bytes=SHARED_BYTES)
    assert (outcome.status, outcome.stage) == (Status.OVER_BUDGET, "load")
    assert outcome.warmups_s == ()


def test_a_cold_trial_needs_as_much_memory_as_a_forked_one(
    run_in_child: Runs, tmp_path: Path
) -> None:
    forked, _ = run_in_child()
    write_record(tmp_path, SPEC, trial_spec())
    subprocess.run(
        [sys.executable, "-m", "autotune.trial", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": python_path()},
        check=True,
    )
    cold = read_outcome(tmp_path, "t")
    assert forked.memory is not None
    assert cold.memory is not None
    # Imports inside the measurement would add 170 MiB; the first run of a new installation, which
    # compiles what it imports, was seen to add 67.
    assert abs(cold.memory.peak_bytes - forked.memory.peak_bytes) < 100 * MIB


@pytest.fixture(scope="module")
def compiled(
    _engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, object], Outcome]]:
    """A candidate that compiles, in a study of its own, and how its first trial ended."""
    place = tmp_path_factory.mktemp("compiled")
    folder = place / "a study's folder"
    spec: dict[str, object] = {
        "choices": {"compile-vae": "on"},
        "prepared": str(folder),
        "deadline_s": 280.0,
        # Without the time that levers need to start up, a first call would end after two seconds.
        "give_up_above_s": 0.5,
    }
    # It takes 100 to 240 MiB here: more where the modules it imports have no bytecode yet.
    _, cold = run(_engine, trial_spec(budget_bytes=400 * MIB, **spec), place / "cold")
    yield spec, cold
    link = plain_folder(folder)
    assert link is not None
    link.unlink()  # the only thing outside of the folder


def test_a_compile_gets_time_and_memory_and_leaves_no_process(
    run_in_child: Runs, compiled: tuple[dict[str, object], Outcome]
) -> None:
    spec, cold = compiled
    assert cold.status is Status.MEASURED, cold.message
    assert cold.first_s is not None
    assert cold.first_s > 2, "it was compiled"
    assert len(cold.warmups_s) == 2, "one more than asked for: the second may compile again"
    assert cold.engaged["compile-vae"].detail == "vae.decoder: 1 compiled; 1 graphs in 1 calls"
    assert trial_processes("trials") == []
    names = {path.name for path in Path(str(spec["prepared"])).iterdir()}
    assert names == {"compiler", "inductor", "inductor.json"}
    eager, _ = run_in_child()
    assert eager.memory is not None
    fits = eager.memory.peak_bytes + 12 * MIB
    tight, _ = run_in_child(budget_bytes=fits, **spec)
    assert tight.status is Status.OVER_BUDGET, "compiling takes memory too, and it counts"


@pytest.mark.fault("T14")
def test_a_damaged_cache_of_what_was_compiled_is_put_aside_and_it_is_compiled_again(
    run_in_child: Runs, compiled: tuple[dict[str, object], Outcome]
) -> None:
    spec, _ = compiled
    cache = Path(str(spec["prepared"])) / "inductor"
    for file in cache.rglob("*"):
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)
    # Long enough to see it compile, too short to wait for its end.
    again, folder = run_in_child(budget_bytes=400 * MIB, **spec | {"deadline_s": 7.0})
    assert again.status in (Status.TOO_SLOW, Status.MEASURED), again.message
    said = "what was compiled before is damaged: it is put aside as inductor-damaged-1"
    assert said in (folder / LOG).read_text()
    assert (cache.parent / "inductor-damaged-1").is_dir()
    assert len(list(cache.rglob("*.cpp"))) > 0


@pytest.mark.fault("G12")
def test_samples_beside_a_busy_process_are_made_again_and_marked(run_in_child: Runs) -> None:
    with busy_processors():
        outcome, _ = run_in_child(
            workload=SMALL.but(steps=150), effort=Effort(warmups=1, samples=2), deadline_s=300.0
        )
    assert outcome.status is Status.MEASURED, outcome.message
    assert len(outcome.samples_s) == 2
    assert len(outcome.discarded) == 3, "no more than three (M10)"
    assert all("other processes took" in one.why for one in outcome.discarded)
    assert outcome.disturbed is not None


@pytest.mark.fault("G12")
def test_what_is_too_slow_beside_a_busy_process_was_interfered_with(run_in_child: Runs) -> None:
    with busy_processors():
        outcome, _ = run_in_child(
            workload=SMALL.but(steps=400), effort=SHORT, give_up_above_s=0.01
        )
    assert outcome.status is Status.INTERFERED, outcome.message
    assert "and other processes took" in outcome.message
