"""``autotune verify``: does a recipe still hold, here?"""

from __future__ import annotations

import argparse
import json
import sys

from autotune.errors import ExitCode

SUMMARY = "measure a recipe again on this machine, and say whether it holds"
EXAMPLE = "autotune verify autotune-runs/demo/recipe.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", help="a recipe file")
    parser.add_argument(
        "--model", help="where the model is (default: the recipe's own, if it is on this machine)"
    )
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="a file that the recipe was measured with (repeatable)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write the recipe with this machine's numbers, if it holds"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--runs",
        metavar="FOLDER",
        default="autotune-runs",
        help="where the folder of the trials is made (default: autotune-runs)",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="fail if another autotune holds the device"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Measure and print; 1 where the recipe does not hold."""
    from autotune.api import verify
    from autotune.cli.view import make_view
    from autotune.models.given import parse_checkpoints

    with make_view(quiet=arguments.quiet) as view:
        verified = verify(
            arguments.recipe,
            model=arguments.model,
            device=arguments.device,
            checkpoints=parse_checkpoints(arguments.checkpoint),
            out=arguments.out,
            force=arguments.force,
            runs=arguments.runs,
            wait=not arguments.no_wait,
            listener=view,
        )
    from autotune.report.verify import print_verified, to_json

    if arguments.json:
        print(json.dumps(to_json(verified)))
    else:
        print_verified(verified, arguments.recipe, sys.stdout)
    return ExitCode.DONE if verified.holding.good else ExitCode.NO_RESULT
