"""The argument parser: one entry a command, errors in the house's form.

argparse, not a framework: `autotune --help` has to answer at once, and typer alone takes seven
times what an empty Python takes to start.
"""

from __future__ import annotations

import argparse
import importlib
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
    def error(self, message: str) -> NoReturn:
        words = one_line(message[0].lower() + message[1:])
        self.exit(2, f"error: {words}\n\nhint: {self.prog} --help\n")


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
        own.set_defaults(command=command)
    return parser
