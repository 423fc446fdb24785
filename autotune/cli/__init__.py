"""The command line. ``main`` reads like the program: parse, run one command, say how it ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from autotune.cli.parser import make_parser
from autotune.errors import AutotuneError, ExitCode


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end; ``code`` is the exit status that says which."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status (design §11)."""
    _listen_to_signals()
    parsed = make_parser().parse_args(arguments)
    try:
        code = parsed.command.run(parsed)
        sys.stdout.flush()
    except AutotuneError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Interrupted as stop:
        return stop.code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return int(code)


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
