"""``autotune levers``: every lever and choice, available here or why not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import BadInput, ExitCode

if TYPE_CHECKING:
    from autotune.records import Choice, Device

SUMMARY = "list every lever and choice: available here, or the reason why not"
EXAMPLE = "autotune levers --model flux"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--model", help="ask for this model too, not for the device alone")
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="with --model: a file that stands for a component's weights (repeatable)",
    )
    parser.add_argument("--available", action="store_true", help="leave out what cannot be had")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list of choices")
    form.add_argument(
        "--markdown", action="store_true", help="print the table of the README, for any device"
    )


def run(arguments: argparse.Namespace) -> ExitCode:
    """Ask the levers and print."""
    import json

    from autotune.levers import load_levers
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device

    if arguments.markdown:
        from autotune.report.levers import markdown_table

        print(markdown_table())
        return ExitCode.DONE
    if arguments.checkpoint and arguments.model is None:
        raise BadInput("--checkpoint is for a component of a model", hint="add --model MODEL")
    device = select_device(probe_machine(), arguments.device)
    choices = _choices(arguments.model, arguments.checkpoint, device)
    if arguments.available:
        choices = [choice for choice in choices if choice.unavailable is None]
    if arguments.json:
        stages = {name: lever.stage for name, lever in load_levers().items()}
        print(
            json.dumps(
                [one.model_dump(mode="json") | {"stage": stages[one.lever]} for one in choices]
            )
        )
    else:
        from autotune.report.levers import print_levers

        print_levers(choices, device, arguments.model, sys.stdout)
    return ExitCode.DONE


def _choices(model: str | None, checkpoints: Sequence[str], device: Device) -> list[Choice]:
    if model is None:
        from autotune.levers import offered_choices

        return [one for found in offered_choices(device, None).values() for one in found]
    from autotune.engine.local import inspect_alone
    from autotune.models.given import give, look_at, parse_checkpoints
    from autotune.models.resolve import resolve
    from autotune.records import InspectSpec

    looked = look_at(parse_checkpoints(checkpoints))
    spec = InspectSpec(model=give(resolve(model), looked), device=device)
    with tempfile.TemporaryDirectory() as folder:
        return list(inspect_alone(spec, Path(folder)).choices)
