"""A process that imports once and forks a child per trial: ``python -m autotune.trial.zygote``.

It reads one JSON command a line from standard input and writes one JSON event a line to the
descriptor it is given:

    {"do": "start", "id": …, "folder": …, "job": "trial" | "inspect"}  →  started, later ended
    {"do": "stop", "id": …}                                          →  TERM, then KILL the group

It computes nothing itself, so it always answers. Every child is a session of its own and its
whole group is killed when it ends, however it ends. When the coordinator goes away standard input
closes, and the zygote takes its children with it.

With ``--cold`` nothing is imported and children are fresh interpreters: the fallback for when the
imports have touched a device driver, whose state a fork must not share (design D3).
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from autotune.records import Device
from autotune.trial.__main__ import (
    die_with,
    first_to_go,
    leave,
    process_control,
    report,
    run_job,
)
from autotune.trial.asleep import driver_asleep
from autotune.trial.wire import LOG

#: How long a child may clean up after TERM (fault matrix, common machinery).
_GRACE_S = 5.0
#: How long killed strays may take to go.
_STRAYS_S = 1.0
_PR_SET_CHILD_SUBREAPER = 36
_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")


@dataclass(kw_only=True)
class _Child:
    id: str
    pid: int
    pidfd: int
    kill_at: float | None = None


class Zygote:
    """Forks, watches, ends and reaps children."""

    def __init__(self, *, cold: bool, events: int) -> None:
        self._cold = cold
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._unread = b""
        # Not standard output: whatever a library prints must not end up among the events.
        os.set_inheritable(events, False)
        self._events = os.fdopen(events, "w", buffering=1)
        # What a trial leaves behind in another session comes to its next living ancestor.
        process_control(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self, ready: dict[str, Any]) -> None:
        """Answer commands until standard input closes; whatever ends this ends the children."""
        try:
            self._say("ready", **ready)
            while self._step():
                pass
        finally:
            for child in self._children.values():
                self._kill_group(child, signal.SIGKILL)
            self._children.clear()
            self._end_strays()

    def _step(self) -> bool:
        for key, _ in self._selector.select(self._next_kill()):
            if key.fd == 0:
                if not self._read_commands():
                    return False
            else:
                self._reap(self._children[key.data])
        for child in list(self._children.values()):
            if child.kill_at is not None and time.monotonic() >= child.kill_at:
                self._kill_group(child, signal.SIGKILL)
                child.kill_at = None
        return True

    def _next_kill(self) -> float | None:
        due = [child.kill_at for child in self._children.values() if child.kill_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _read_commands(self) -> bool:
        data = os.read(0, 1 << 16)
        if not data:
            return False
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if command["do"] == "start":
                self._start(command["id"], Path(command["folder"]), command["job"])
            else:
                for child in self._children.values():
                    if child.id == command["id"] and child.kill_at is None:
                        self._kill_group(child, signal.SIGTERM)
                        child.kill_at = time.monotonic() + _GRACE_S
        return True

    def _start(self, id: str, folder: Path, job: str) -> None:
        pid = _spawn(folder, job) if self._cold else self._fork(folder, job)
        child = _Child(id=id, pid=pid, pidfd=os.pidfd_open(pid))
        self._children[pid] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, data=pid)
        self._say("started", id=id, pid=pid)

    def _fork(self, folder: Path, job: str) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._selector.close()
            self._events.close()
            _become_trial(folder, job, parent)
        return pid

    def _reap(self, child: _Child) -> None:
        # The group is killed while the leader is still a zombie, so its id cannot be reused.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self._kill_group(child, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        del self._children[child.pid]
        self._end_strays()
        code = os.waitstatus_to_exitcode(status)
        self._say("ended", id=child.id, code=code)

    def _kill_group(self, child: _Child, number: signal.Signals) -> None:
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            # Too early: the child has not made its session yet. KILL must not miss it.
            if number is signal.SIGKILL:
                os.kill(child.pid, number)

    def _end_strays(self) -> None:
        """Kill and reap what is a child of this process and not a trial."""
        give_up_at = time.monotonic() + _STRAYS_S
        while strays := _children_of_this_process() - self._children.keys():
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > give_up_at:
                return  # the kernel holds them: nothing that could be done would end them
            time.sleep(0.01)

    def _say(self, event: str, **facts: Any) -> None:
        self._events.write(json.dumps({"event": event, **facts}) + "\n")
        self._events.flush()


_spawned: list[subprocess.Popen[bytes]] = []


def _spawn(folder: Path, job: str) -> int:
    with (folder / LOG).open("ab") as log:
        started = subprocess.Popen(
            [sys.executable, "-m", "autotune.trial", str(folder), job, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # The one inheritable descriptor is the device lock, which a trial must hold (D5).
            close_fds=False,
            start_new_session=True,
        )
    _spawned.append(started)  # else the next Popen would reap it when it has ended
    return started.pid


def _children_of_this_process() -> set[int]:
    try:
        return {int(pid) for pid in _CHILDREN.read_text().split()}
    except OSError:
        return set()  # a kernel without this list: what the group kill missed is not found


def _become_trial(folder: Path, job: str, parent: int) -> NoReturn:
    """In the forked child: cut every tie to the zygote, run the job, and leave."""
    code = 1
    try:
        os.setsid()
        die_with(parent)
        first_to_go()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.enable(sys.stderr)
        run_job(folder, job)
        code = 0
    except BaseException as error:
        code = report(error)
    finally:
        leave(code)


def _import_everything(pipeline: str, card: Device | None) -> dict[str, Any]:
    """Import what trials need; report whether a fork is safe afterwards."""
    start = time.perf_counter()
    if card is None:
        _import(pipeline)
        touched = False
    else:
        touched = not _import_beside(card, pipeline)
    gc.collect()
    gc.freeze()  # what lives now lives for ever: keep the collector from touching its pages
    touched = touched or not _fork_can_use(card)
    return {"import_s": time.perf_counter() - start, "driver_touched": touched}


def _import(pipeline: str) -> None:
    import diffusers
    import transformers  # noqa: F401

    import autotune.trial.inspect
    import autotune.trial.run  # noqa: F401
    from autotune.levers import load_levers

    load_levers()
    getattr(diffusers, pipeline, None)


def _import_beside(card: Device, pipeline: str) -> bool:
    """Import with the card in sight; whether its driver sleeps and nobody missed it."""
    # With this, torch answers is_available() through NVML and leaves the driver alone.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    with driver_asleep(card) as found:
        try:
            _import(pipeline)
        except Exception:
            if not found.asked:
                raise
            traceback.print_exc()
    return not found.asked and not torch.cuda.is_initialized()


def _fork_can_use(card: Device | None) -> bool:
    """Prove by a first child that forks of this process can use the card (design D3)."""
    if card is None:
        return True
    pid = os.fork()
    if pid == 0:
        try:
            import torch

            torch.zeros(1, device="cuda")
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return status == 0


def main() -> None:
    """Serve until the coordinator closes standard input."""
    parser = argparse.ArgumentParser(prog="python -m autotune.trial.zygote")
    parser.add_argument("--pipeline", default="DiffusionPipeline")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--card", help="JSON of the NVIDIA card that trials run on")
    parser.add_argument("--events", type=int, required=True, help="descriptor to write events to")
    arguments = parser.parse_args()
    # Ctrl-C belongs to the coordinator, which then ends the trial in an orderly way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # TERM ends the trials too, not only this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    card = Device.model_validate_json(arguments.card) if arguments.card else None
    zygote = Zygote(cold=arguments.cold, events=arguments.events)
    ready = {} if arguments.cold else _import_everything(arguments.pipeline, card)
    zygote.serve(ready)


if __name__ == "__main__":
    main()
