"""``autotune levers``: every lever and choice, available here or why not."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from autotune.errors import ExitCode

if TYPE_CHECKING:
    from autotune.records import Choice, Device

SUMMARY = "list every lever and choice: available here, or the reason why not"
EXAMPLE = "autotune levers --model flux"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--model", help="ask for this model too, not for the device alone")
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of choices")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Ask the levers and print."""
    import json

    from autotune.probe import probe_machine
    from autotune.probe.device import select_device

    device = select_device(probe_machine(), arguments.device)
    choices = _choices(arguments.model, device)
    if arguments.json:
        print(json.dumps([choice.model_dump(mode="json") for choice in choices]))
    else:
        from autotune.report.levers import print_levers

        print_levers(choices, device, arguments.model, sys.stdout)
    return ExitCode.DONE


def _choices(model: str | None, device: Device) -> list[Choice]:
    if model is None:
        from autotune.levers import offered_choices

        return [one for found in offered_choices(device, None).values() for one in found]
    from autotune.engine.local import inspect_alone
    from autotune.models.resolve import resolve
    from autotune.records import InspectSpec

    return list(inspect_alone(InspectSpec(model=resolve(model), device=device)).choices)
