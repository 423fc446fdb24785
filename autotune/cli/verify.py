"""``autotune verify``: does a recipe still hold, here?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.cli.again import add_options, given
from autotune.errors import ExitCode

if TYPE_CHECKING:
    from autotune.search.verify import Verified

SUMMARY = "measure a recipe again on this machine, and say whether it holds"
EXAMPLE = "autotune verify autotune-runs/demo/recipe.json"
#: Where GitHub's runners show what a step says of itself.
_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", help="a recipe file")
    parser.add_argument(
        "--out", metavar="FILE", help="write the recipe with this machine's numbers, if it holds"
    )
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    parser.add_argument(
        "--max-regression",
        metavar="SHARE",
        default="5%",
        help="how much slower than the slowest of its processes was still holds (default: 5%%)",
    )
    parser.add_argument(
        "--junit",
        metavar="FILE",
        type=Path,
        help=f"write JUnit's XML for a CI service; where {_STEP_SUMMARY} is set, a summary "
        "is added to it as well",
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure and print; 1 where the recipe does not hold."""
    from autotune.api import verify
    from autotune.cli.view import make_view
    from autotune.files import check_writable

    if arguments.junit is not None:
        check_writable(arguments.junit, overwrite=arguments.force)
    with make_view(quiet=arguments.quiet) as view:
        verified = verify(
            arguments.recipe,
            out=arguments.out,
            force=arguments.force,
            max_regression=arguments.max_regression,
            listener=view,
            **given(arguments),
        )
    from autotune.report.verify import print_verified, to_json

    if arguments.json:
        print(json.dumps(to_json(verified)))
    else:
        print_verified(verified, arguments.recipe, sys.stdout)
    _tell_ci(verified, arguments)
    return ExitCode.DONE if verified.holding.good else ExitCode.NO_RESULT


def _tell_ci(verified: Verified, arguments: argparse.Namespace) -> None:
    """Write what CI services read: the file asked for, and the summary of the step."""
    from autotune.files import write_atomic
    from autotune.report.ci import junit, markdown

    if arguments.junit is None:
        return
    xml = junit(verified, arguments.recipe).encode()
    write_atomic(arguments.junit, xml, overwrite=arguments.force)
    if summary := os.environ.get(_STEP_SUMMARY):
        # Other steps write there too: this is the one file that is added to.
        with open(summary, "a", encoding="utf-8") as file:
            file.write(markdown(verified, arguments.recipe))
