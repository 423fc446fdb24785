"""``autotune probe``: what this machine is."""

from __future__ import annotations

import argparse
import sys

from autotune.errors import ExitCode

SUMMARY = "show the devices, the host and the software that trials would run on"
EXAMPLE = "autotune probe --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Probe and print."""
    from autotune.probe import probe_machine

    machine = probe_machine()
    if arguments.json:
        print(machine.model_dump_json())
    else:
        from autotune.report.machine import print_machine

        print_machine(machine, sys.stdout)
    return ExitCode.DONE
