"""``autotune compare``: which of two recipes is faster, here?"""

from __future__ import annotations

import argparse
import json
import sys

from autotune.cli.again import add_options, given
from autotune.errors import ExitCode

SUMMARY = "measure two recipes in turns on this machine, and say which is faster"
EXAMPLE = "autotune compare new.json old.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("first", metavar="A", help="a recipe file")
    parser.add_argument("second", metavar="B", help="what it is compared with")
    parser.add_argument(
        "--effort",
        metavar="HOW",
        help="how much is measured: quick, standard, thorough (default: as in the recipes)",
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure and print; 1 where one of them does not run."""
    from autotune.api import compare
    from autotune.cli.view import make_view

    names = (arguments.first, arguments.second)
    with make_view(quiet=arguments.quiet) as view:
        found = compare(*names, effort=arguments.effort, listener=view, **given(arguments))
    from autotune.report.side_by_side import print_side_by_side, to_json

    if arguments.json:
        print(json.dumps(to_json(found)))
    else:
        print_side_by_side(found, names, sys.stdout)
    return ExitCode.DONE if found.failed is None else ExitCode.NO_RESULT
