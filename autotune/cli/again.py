"""What commands that measure recipes again have in common."""

from __future__ import annotations

import argparse
from typing import Any


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare where recipes are measured, with what, and how that is answered."""
    parser.add_argument(
        "--model", help="where the model is (default: the recipe's own, if it is on this machine)"
    )
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="a file that was measured with (repeatable)",
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


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given of them, under the names of the Python functions."""
    from autotune.models.given import parse_checkpoints

    return {
        "model": arguments.model,
        "device": arguments.device,
        "checkpoints": parse_checkpoints(arguments.checkpoint),
        "runs": arguments.runs,
        "wait": not arguments.no_wait,
    }
