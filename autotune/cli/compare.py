"""``autotune compare``: which of two recipes is faster, here?"""

from __future__ import annotations

import argparse
import json
import sys

from autotune.errors import ExitCode

SUMMARY = "measure two recipes in turns on this machine, and say which is faster"
EXAMPLE = "autotune compare new.json old.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("first", metavar="A", help="a recipe file")
    parser.add_argument("second", metavar="B", help="what it is compared with")
    parser.add_argument(
        "--model", help="where their model is (default: their own, if it is on this machine)"
    )
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="a file that the recipes were measured with (repeatable)",
    )
    parser.add_argument(
        "--effort",
        metavar="HOW",
        help="how much is measured: quick, standard, thorough (default: as in the recipes)",
    )
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
    """Measure and print; 1 where one of them does not run."""
    from autotune.api import compare
    from autotune.cli.view import make_view
    from autotune.models.given import parse_checkpoints

    with make_view(quiet=arguments.quiet) as view:
        found = compare(
            arguments.first,
            arguments.second,
            model=arguments.model,
            device=arguments.device,
            checkpoints=parse_checkpoints(arguments.checkpoint),
            effort=arguments.effort,
            runs=arguments.runs,
            wait=not arguments.no_wait,
            listener=view,
        )
    from autotune.report.side_by_side import print_side_by_side, to_json

    if arguments.json:
        print(json.dumps(to_json(found)))
    else:
        print_side_by_side(found, (arguments.first, arguments.second), sys.stdout)
    return ExitCode.DONE if found.failed is None else ExitCode.NO_RESULT
