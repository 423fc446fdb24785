"""The argument parser: one entry a command, errors in the house's form.

argparse, not a framework: `autotune --help` has to answer at once, and typer alone takes seven
times what an empty Python takes to start.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

import autotune
from autotune.errors import one_line

#: In the order of ``--help``. Each is a module of this package with ``SUMMARY``, ``EXAMPLE``,
#: ``add_arguments`` and ``run``.
COMMANDS = (
    *(
        "suggest",
        "verify",
        "compare",
        "estimate",
        "explain",
        "export",
        "levers",
        "book",
        "skeleton",
        "replay",
        "schema",
        "probe",
    ),
    "doctor",
)

_ABOUT = """\
Finds the fastest setup of a diffusers pipeline that fits the memory you have, by measuring.
"""
_EXAMPLE = """\
example:
  autotune suggest --model demo --vram 1GB
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str, hint: str = "") -> NoReturn:
        words = one_line(message[0].lower() + message[1:])
        self.exit(2, f"error: {words}\n\nhint: {hint}{self.prog} --help\n")

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Say what is not known of a command, and the option that is like it."""
        known = re.findall(r"--[a-z-]+", self.format_usage())
        name = unknown[0].partition("=")[0]
        close = (
            difflib.get_close_matches(name, known, n=1, cutoff=0.75)
            if name.startswith("--")
            else []
        )
        hint = f"did you mean {close[0]}? " if close else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}", hint)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ``command`` is the module of the command."""
    parsed, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        parsed.parser.refuse(unknown)
    return parsed


def make_parser() -> argparse.ArgumentParser:
    """Build the parser with every command."""
    parser = _Parser(
        prog="autotune",
        description=_ABOUT,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"autotune {autotune.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        command: Any = importlib.import_module(f"autotune.cli.{name}")
        own = commands.add_parser(
            name,
            help=command.SUMMARY,
            description=command.SUMMARY[0].upper() + command.SUMMARY[1:] + ".",
            epilog=f"example:\n  {command.EXAMPLE}\n",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(own)
        own.set_defaults(command=command, parser=own)
    return parser
