"""``autotune verify``: does a recipe still hold, here?"""

from __future__ import annotations

import argparse
import json
import sys

from autotune.cli.again import add_options, given
from autotune.errors import ExitCode

SUMMARY = "measure a recipe again on this machine, and say whether it holds"
EXAMPLE = "autotune verify autotune-runs/demo/recipe.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", help="a recipe file")
    parser.add_argument(
        "--out", metavar="FILE", help="write the recipe with this machine's numbers, if it holds"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    add_options(parser)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure and print; 1 where the recipe does not hold."""
    from autotune.api import verify
    from autotune.cli.view import make_view

    with make_view(quiet=arguments.quiet) as view:
        verified = verify(
            arguments.recipe,
            out=arguments.out,
            force=arguments.force,
            listener=view,
            **given(arguments),
        )
    from autotune.report.verify import print_verified, to_json

    if arguments.json:
        print(json.dumps(to_json(verified)))
    else:
        print_verified(verified, arguments.recipe, sys.stdout)
    return ExitCode.DONE if verified.holding.good else ExitCode.NO_RESULT
