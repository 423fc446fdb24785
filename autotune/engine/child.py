"""The coordinator's end of the zygote: start it, send commands, receive events."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autotune.errors import CannotRun
from autotune.files import PRIVATE_UMASK, open_private
from autotune.processes import own_environment
from autotune.records import Device

#: Importing torch, diffusers and transformers takes 4 s warm, ten times that from a cold disk.
_READY_DEADLINE_S = 300.0
#: What a child may see of the caller's environment; everything else is left out (T23, F14).
_ALLOWED = (
    "PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
    "PYTHONSAFEPATH", "VIRTUAL_ENV", "USER", "CUDA_HOME", "CUDA_PATH", "CC", "CXX",
    # Kernels from the hub: what the machine's owner allows, and where they lie (A7).
    "DIFFUSERS_TRUST_REMOTE_KERNELS", "HF_HOME", "HF_HUB_CACHE",
)  # fmt: skip
_ALLOWED_PREFIXES = (
    "AUTOTUNE_", "OMP_", "MKL_", "KMP_", "GOMP_", "PYTORCH_", "TORCH", "XDG_", "LC_", "NVIDIA_",
    "HSA_", "ROCR_", "MALLOC_", "LD_PRELOAD", "COVERAGE_",
)  # fmt: skip
VISIBLE = "CUDA_VISIBLE_DEVICES"


def child_environment(device: Device, caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of trials: offline, on this device only, and without secrets."""
    kept = {
        name: value
        for name, value in own_environment(caller).items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    if device.kind in ("cuda", "cpu"):
        kept[VISIBLE] = device.uuid if device.kind == "cuda" else ""
    return kept | {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DIFFUSERS_VERBOSITY": "error",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
    }


class Zygote:
    """A running zygote process. ``cold`` asks for fresh interpreters instead of forks."""

    def __init__(
        self, *, pipeline: str, device: Device, log: Path, inherit: tuple[int, ...], cold: bool
    ) -> None:
        receiving, sending = os.pipe()
        self._output = open(receiving, "rb", buffering=0)  # noqa: SIM115 - closed in close()
        os.set_blocking(receiving, False)
        command = [sys.executable, "-m", "autotune.trial.zygote", "--pipeline", pipeline]
        command += ["--events", str(sending)]
        environment = child_environment(device, os.environ)
        if cold:
            command.append("--cold")
        elif device.kind == "cuda":
            command += ["--card", device.model_dump_json()]
        try:
            with open(log, "ab", opener=open_private) as output:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    umask=PRIVATE_UMASK,
                    pass_fds=(*inherit, sending),
                    start_new_session=True,
                )
        finally:
            os.close(sending)
        assert self._process.stdin is not None
        self._input = self._process.stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._unread = b""
        self._log = log
        try:
            self.ready = self._wait_until_ready()
        except BaseException:
            self._process.kill()  # it may be importing, and would not hear that its input closed
            self.close()
            raise

    def send(self, **command: Any) -> None:
        """Send one command.

        Raises:
            CannotRun: If the zygote is gone.
        """
        try:
            self._input.write(json.dumps(command).encode() + b"\n")
            self._input.flush()
        except OSError:
            raise self._gone() from None

    def events(self, timeout_s: float) -> Iterator[Mapping[str, Any]]:
        """The events that came, waiting up to ``timeout_s`` for the first.

        Raises:
            CannotRun: If the zygote is gone.
        """
        if not self._selector.select(timeout_s):
            return
        data = self._output.read()
        if data == b"":
            raise self._gone()
        *lines, self._unread = (self._unread + (data or b"")).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def close(self) -> None:
        """Close the zygote's input: it ends its children and itself."""
        self._selector.close()
        try:
            self._input.close()
        except OSError:
            pass  # it is gone already
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def _wait_until_ready(self) -> Mapping[str, Any]:
        deadline = time.monotonic() + _READY_DEADLINE_S
        while time.monotonic() < deadline:
            for event in self.events(1.0):
                if event["event"] == "ready":
                    return event
        raise CannotRun(
            f"torch and diffusers did not finish importing in {_READY_DEADLINE_S:.0f} s",
            hint="autotune doctor shows which package is at fault",
        )

    def _gone(self) -> CannotRun:
        tail = (
            self._log.read_text(errors="replace").strip().splitlines()
            if self._log.exists()
            else []
        )
        why = tail[-1] if tail else "no message"
        return CannotRun(f"the process that runs trials ended: {why}", hint="autotune doctor")
