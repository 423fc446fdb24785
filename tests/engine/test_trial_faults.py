"""However a trial's process ends, its kind is known, nothing survives it and the next one runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.engine import local
from autotune.engine.local import LocalEngine
from autotune.engine.log import MOST_BYTES
from autotune.status import Status
from autotune.trial.wire import LOG, OUTCOME, read_outcome
from tests.engine.driving import follow, run, start_hanging, trial_processes, wait_until
from tests.stubs.chaos.chaos_lever import FLOOD_BYTES
from tests.trial.bench import trial_spec

pytestmark = pytest.mark.trials

Folder = Callable[[], Path]
forked_only = pytest.mark.parametrize("engine", ["forked"], indirect=True)
forked_and_cold = pytest.mark.parametrize("engine", ["forked", "cold"], indirect=True)


@pytest.fixture(autouse=True)
def _nothing_survives(request: pytest.FixtureRequest, engine: LocalEngine) -> object:
    """After each test only the zygote is left."""
    yield
    survivors = trial_processes(request.node.callspec.params["engine"])
    for process in survivors:
        process.kill()  # the next test must not find them
    assert survivors == []


@pytest.mark.fault("T6", "T19", "T20", "T22", "T23")
@forked_only
@pytest.mark.parametrize(
    ("fault", "status", "stage", "message"),
    [
        ("segfault", Status.CRASHED, "load", "ended by signal 11"),
        ("segfault-in-warmup", Status.CRASHED, "denoise", "ended by signal 11"),
        ("segfault-in-sample", Status.CRASHED, "sample", "ended by signal 11"),
        ("abort", Status.CRASHED, "load", "ended by signal 6"),
        ("illegal-instruction", Status.CRASHED, "load", "ended by signal 4"),
        ("exit", Status.PROTOCOL_ERROR, "load", "exit status 0 without an outcome"),
        (
            "sys-exit",
            Status.PROTOCOL_ERROR,
            "load",
            "exit status 1 without an outcome: SystemExit: 3",
        ),
        ("garbage-outcome", Status.PROTOCOL_ERROR, "load", "exit status 0 without an outcome"),
        ("folder-removal", Status.PROTOCOL_ERROR, "start", "exit status 0 without an outcome"),
        ("garbage-progress", Status.MEASURED, "done", ""),
        ("stray", Status.MEASURED, "done", ""),
    ],
)
def test_a_trial_that_ends_itself_has_an_outcome_that_says_how(
    engine: LocalEngine, folder: Folder, fault: str, status: Status, stage: str, message: str
) -> None:
    place = folder()
    _, outcome = run(engine, trial_spec(choices={"chaos": fault}), place)
    assert (outcome.status, outcome.stage) == (status, stage)
    assert message in outcome.message
    assert read_outcome(place, "t") == outcome


@pytest.mark.fault("T21")
@forked_only
def test_of_a_flooded_log_both_ends_are_kept(engine: LocalEngine, folder: Folder) -> None:
    place = folder()
    _, outcome = run(engine, trial_spec(choices={"chaos": "flood"}), place)
    assert outcome.status is Status.MEASURED
    log = (place / LOG).read_bytes()
    assert FLOOD_BYTES > 10 * MOST_BYTES
    assert len(log) <= MOST_BYTES
    assert b"the flood begins\n" in log
    assert log.endswith(b"the flood ends\n")
    assert log.count(b" bytes are left out here]\n") == 1


@pytest.mark.fault("T6")
@forked_only
def test_the_next_trial_after_a_crash_is_measured(engine: LocalEngine, folder: Folder) -> None:
    _, outcome = run(engine, trial_spec(choices={"chaos": "segfault"}), folder())
    assert outcome.status is Status.CRASHED
    _, outcome = run(engine, trial_spec("u"), folder())
    assert (outcome.trial, outcome.status) == ("u", Status.MEASURED)


@pytest.mark.fault("T6")
@forked_and_cold
def test_a_crash_leaves_its_stack_in_the_log(engine: LocalEngine, folder: Folder) -> None:
    place = folder()
    _, outcome = run(engine, trial_spec(choices={"chaos": "segfault"}), place)
    assert outcome.message == "ended by signal 11: Fatal Python error: Segmentation fault"
    assert "in _segfault" in (place / "log.txt").read_text()


@forked_only
def test_a_cancelled_trial_ends_at_once_and_says_so(engine: LocalEngine, folder: Folder) -> None:
    start_hanging(engine, trial_spec(choices={"chaos": "hang"}), folder())
    start = time.monotonic()
    assert engine.cancel("t")
    _, outcome = follow(engine, "t")
    assert (outcome.status, outcome.stage) == (Status.CANCELLED, "load")
    assert time.monotonic() - start < 2


@forked_only
def test_an_interrupt_while_an_outcome_is_read_leaves_nothing_to_wait_for(
    engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "read_outcome", interrupted)
    engine.submit(trial_spec(choices={"chaos": "segfault"}), folder())
    with pytest.raises(KeyboardInterrupt):
        follow(engine, "t")
    assert not engine.cancel("t")


@pytest.mark.fault("T8")
@forked_only
def test_a_hang_that_obeys_is_ended_at_its_deadline(engine: LocalEngine, folder: Folder) -> None:
    start = time.monotonic()
    spec = trial_spec(choices={"chaos": "hang"}, deadline_s=3.0)
    _, outcome = run(engine, spec, folder())
    assert (outcome.status, outcome.stage) == (Status.HUNG, "load")
    assert outcome.message == "still running after 3 s"
    assert 3.0 < time.monotonic() - start < 9.0


@forked_only
def test_a_trial_that_falls_silent_is_ended_long_before_its_deadline(
    engine: LocalEngine, folder: Folder
) -> None:
    spec = trial_spec(choices={"chaos": "hang"}, deadline_s=600.0, silence_s=1.5)
    _, outcome = run(engine, spec, folder())
    assert (outcome.status, outcome.stage) == (Status.HUNG, "load")
    assert outcome.message == "no progress for 2 s"
    assert outcome.seconds < spec.deadline_s / 2


@pytest.mark.fault("T9")
@forked_only
def test_a_hang_that_ignores_term_is_killed_with_all_it_started(
    engine: LocalEngine, folder: Folder
) -> None:
    start = time.monotonic()
    spec = trial_spec(choices={"chaos": "stubborn-hang"}, deadline_s=3.0)
    start_hanging(engine, spec, folder())
    assert "sleep" in {process.name() for process in trial_processes("forked")}
    _, outcome = follow(engine, "t")
    assert outcome.status is Status.HUNG
    # Five seconds to clean up, then KILL.
    assert 8.0 < time.monotonic() - start < 10.0


@pytest.mark.fault("T5")
@forked_and_cold
def test_a_trial_killed_from_outside_is_not_called_a_crash_or_out_of_memory(
    engine: LocalEngine, folder: Folder, request: pytest.FixtureRequest
) -> None:
    mark = request.node.callspec.params["engine"]
    start_hanging(engine, trial_spec(choices={"chaos": "stubborn-hang"}), folder())
    process = next(one for one in trial_processes(mark) if one.name() != "sleep")
    assert process.environ()["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in process.environ()
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    # It holds the device itself, should it ever outlive the coordinator.
    lock = Path(os.environ["AUTOTUNE_LOCKS"]) / f"{mark}.lock"
    assert str(lock) in {file.path for file in process.open_files()}
    process.send_signal(signal.SIGKILL)
    _, outcome = follow(engine, "t")
    assert (outcome.status, outcome.stage) == (Status.KILLED, "load")


@pytest.mark.fault("T5")
@forked_only
def test_a_trial_terminated_from_outside_was_killed_too(
    engine: LocalEngine, folder: Folder
) -> None:
    start_hanging(engine, trial_spec(choices={"chaos": "hang"}), folder())
    trial_processes("forked")[0].terminate()
    _, outcome = follow(engine, "t")
    assert (outcome.status, outcome.message) == (Status.KILLED, "ended by signal 15 from outside")


@pytest.mark.fault("T4")
@forked_only
def test_a_trial_killed_while_the_kernel_ran_out_of_memory_needed_too_much(
    engine: LocalEngine, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_hanging(engine, trial_spec(choices={"chaos": "hang"}), folder())
    before = local._oom_kills()
    monkeypatch.setattr(local, "_oom_kills", lambda: before + 1)
    trial_processes("forked")[0].kill()
    _, outcome = follow(engine, "t")
    assert outcome.status is Status.OUT_OF_RAM


@pytest.mark.fault("T23")
@forked_only
def test_a_trial_cannot_reach_the_zygote(engine: LocalEngine, folder: Folder) -> None:
    start_hanging(engine, trial_spec(choices={"chaos": "hang"}), folder())
    (process,) = trial_processes("forked")
    open_now = {os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    assert not {target for target in open_now if target.startswith("pipe:")}
    engine.cancel("t")
    follow(engine, "t")


@forked_only
def test_an_outcome_that_was_written_before_the_end_counts(
    engine: LocalEngine, folder: Folder
) -> None:
    place = folder()
    engine.submit(trial_spec(), place)
    wait_until((place / OUTCOME).exists, 30)
    engine.cancel("t")
    _, outcome = follow(engine, "t")
    assert outcome.status is Status.MEASURED


# ----------------------------------------------------- the interpreter and the compiler


@pytest.mark.fault("T7")
@forked_only
def test_a_recursion_that_runs_wild_is_over_its_budget(
    engine: LocalEngine, folder: Folder
) -> None:
    place = folder()
    spec = trial_spec(choices={"chaos": "recursion"}, budget_bytes=100 << 20)
    _, outcome = run(engine, spec, place)
    assert (outcome.status, outcome.stage) == (Status.OVER_BUDGET, "load")
    # Millions of frames are not logged one by one.
    assert (place / LOG).stat().st_size < 100_000


@pytest.mark.fault("T7")
@forked_only
def test_a_recursion_through_c_is_a_crash_where_python_does_not_stop_it(
    engine: LocalEngine, folder: Folder
) -> None:
    _, outcome = run(engine, trial_spec(choices={"chaos": "deep-stack"}), folder())
    stopped = sys.version_info >= (3, 12)  # it counts calls through C by itself
    assert outcome.status is (Status.UNSUPPORTED if stopped else Status.CRASHED), outcome.message
    assert ("RecursionError" if stopped else "ended by signal 11") in outcome.message


@pytest.mark.fault("T10")
@forked_only
def test_a_loop_in_c_that_holds_the_interpreter_is_ended_at_its_deadline(
    engine: LocalEngine, folder: Folder
) -> None:
    # Its own alarm, two seconds before, is never answered: nothing of Python runs there.
    spec = trial_spec(choices={"chaos": "busy-hang-in-warmup"}, deadline_s=3.0)
    _, outcome = run(engine, spec, folder())
    assert (outcome.status, outcome.stage) == (Status.HUNG, "denoise")


@pytest.mark.fault("T12")
@forked_only
def test_what_cannot_be_compiled_is_unsupported_by_its_first_line(
    engine: LocalEngine, folder: Folder
) -> None:
    place = folder()
    _, outcome = run(engine, trial_spec(choices={"chaos": "failing-compiler"}), place)
    assert outcome.status is Status.UNSUPPORTED
    assert "no kernel for this graph" in outcome.message
    assert "\n" not in outcome.message
    assert "in fail" in (place / LOG).read_text(), "the log has it all"
    _, outcome = run(engine, trial_spec("u"), folder())
    assert outcome.status is Status.MEASURED


@pytest.mark.fault("T13")
@forked_only
def test_a_compiler_that_does_not_end_is_too_slow_and_leaves_no_worker(
    engine: LocalEngine, folder: Folder
) -> None:
    # Long before the deadline of the trial: compiling has one of its own.
    spec = trial_spec(choices={"chaos": "endless-compiler"}, give_up_above_s=0.01)
    _, outcome = run(engine, spec, folder())
    assert (outcome.status, outcome.stage) == (Status.TOO_SLOW, "warmup")
    assert outcome.message == "to compile and run once took more than 3 s"


# ---------------------------------------------------------------------- its surroundings


@pytest.mark.fault("T23")
@forked_only
def test_what_a_trial_changes_of_its_process_is_nobody_elses(
    engine: LocalEngine, folder: Folder
) -> None:
    before = os.getcwd(), os.environ.get("AUTOTUNE_CACHE")
    relative = Path(os.path.relpath(folder()))
    _, outcome = run(engine, trial_spec(choices={"chaos": "vandalism"}), relative)
    assert outcome.status is Status.MEASURED, outcome.message
    place = folder()
    _, outcome = run(engine, trial_spec("u"), place)
    assert outcome.status is Status.MEASURED, outcome.message
    assert (place / LOG).stat().st_mode & 0o777 == 0o600
    assert (place / "picture.png").stat().st_mode & 0o777 == 0o600, "the next has its own mask"
    assert before == (os.getcwd(), os.environ.get("AUTOTUNE_CACHE"))


@pytest.mark.fault("C12")
@forked_only
def test_a_trial_that_cannot_write_its_outcome_says_that_the_disk_is_full(
    engine: LocalEngine, folder: Folder
) -> None:
    place = folder()
    _, outcome = run(engine, trial_spec(choices={"chaos": "full-disk"}), place)
    assert (outcome.status, outcome.stage) == (Status.DISK_FULL, "load")
    assert read_outcome(place, "t") == outcome
