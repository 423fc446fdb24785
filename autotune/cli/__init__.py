"""The command line. ``main`` reads like the program: parse, run one command, say how it ended."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

from autotune.cli.parser import parse
from autotune.errors import AutotuneError, ExitCode, one_line

#: The disk that the output goes to is full or broken, which is no error of autotune's.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
#: What asks the program to end, and how it then ends.
_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HUNG_UP,
}


#: What is read of the environment.
_VARIABLES = ("AUTOTUNE_ALLOW_HUB_KERNELS", "AUTOTUNE_BOOK", "AUTOTUNE_CACHE", "AUTOTUNE_LOCKS")


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end; ``code`` is the exit status that says which."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status (design §11)."""
    _listen_to_signals()
    _prepare_output()
    _question_environment()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except AutotuneError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except (BrokenPipeError, SystemExit):
        # Whoever read our output has gone; there is nobody left to tell.
        drop(sys.stdout)
        return ExitCode.DONE
    except KeyboardInterrupt as stop:
        _flush()
        return stop.code if isinstance(stop, Interrupted) else ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            drop(sys.stdout)
            print_error(f"cannot write: {error.strerror}", "free some space on the disk")
            return ExitCode.CANNOT_RUN
        traceback.print_exc()
        print_error(
            f"an error inside autotune: {type(error).__name__}: {one_line(str(error))}",
            "please report it with the lines above",
        )
        return ExitCode.INTERNAL
    return code


def _run(arguments: Sequence[str] | None) -> int:
    try:
        parsed = parse(arguments)
    except SystemExit as end:  # it has answered --help, or said what is wrong
        return int(end.code or 0)
    return int(parsed.command.run(parsed))


def _question_environment() -> None:
    """Say of a variable of ours that is nearly known that it is not: it would be ignored."""
    for name in sorted(os.environ):
        if name.startswith("AUTOTUNE_") and name not in _VARIABLES:
            from difflib import get_close_matches

            for meant in get_close_matches(name, _VARIABLES, n=1, cutoff=0.8):
                said = one_line(name)
                print(f"note: {said} means nothing here: did you mean {meant}?", file=sys.stderr)


def _prepare_output() -> None:
    """Print what the terminal's encoding lacks as an escape: paths and names are the user's."""
    # Closed by the caller; without this the next file that is opened would take its place.
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Print what is left, if the terminal is still there."""
    try:
        sys.stdout.flush()
    except OSError:
        drop(sys.stdout)


def drop(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that the end of the program does not trip on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def print_error(message: str, hint: str | None) -> None:
    """Print an error in the house's form to standard error, if anybody still listens there."""
    try:
        print(f"error: {message}", file=sys.stderr)
        if hint:
            print(f"\nhint: {hint}", file=sys.stderr)
    except OSError:
        drop(sys.stderr)


def _listen_to_signals() -> None:
    def stop(number: int, _: object) -> None:
        raise Interrupted(_SIGNALS[signal.Signals(number)])

    for number in _SIGNALS:
        # Under nohup the end of the terminal is none of the program's.
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
