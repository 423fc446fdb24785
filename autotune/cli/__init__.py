"""The command line. ``main`` reads like the program: parse, run one command, say how it ended."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from autotune.cli.parser import parse
from autotune.errors import AutotuneError, ExitCode, one_line

#: The disk that the output goes to is full or broken, which is no error of autotune's.
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


#: What is read of the environment.
_VARIABLES = ("AUTOTUNE_ALLOW_HUB_KERNELS", "AUTOTUNE_CACHE", "AUTOTUNE_LOCKS")


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
        # Whoever read our output has gone; there is nobody left to tell. Rich makes the second
        # of the first.
        _drop_output()
        return ExitCode.DONE
    except Interrupted as stop:
        return stop.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            _drop_output()
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


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the end of the program does not trip on it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str, hint: str | None) -> None:
    """Print an error in the house's form to standard error."""
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"\nhint: {hint}", file=sys.stderr)


def _listen_to_signals() -> None:
    def stop(number: int, _: object) -> None:
        interrupted = number == signal.SIGINT
        raise Interrupted(ExitCode.INTERRUPTED if interrupted else ExitCode.TERMINATED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
