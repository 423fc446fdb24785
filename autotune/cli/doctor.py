"""``autotune doctor``: is everything here that trials need, and does it work?"""

from __future__ import annotations

import argparse
import json
import sys

from autotune.errors import ExitCode

SUMMARY = "check everything that trials need, and say what to do about what is missing"
EXAMPLE = "autotune doctor"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="print a JSON list of findings")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run the checks; the status is 3 if one that matters failed."""
    from autotune.cli.checkup import check_up

    findings = check_up()
    if arguments.json:
        print(json.dumps([finding.as_dict() for finding in findings]))
    else:
        for finding in findings:
            print(f"{finding.mark:<5} {finding.subject}: {finding.text}")
            if finding.hint:
                print(f"      hint: {finding.hint}")
    sys.stdout.flush()
    bad = any(finding.mark == "fail" for finding in findings)
    return ExitCode.CANNOT_RUN if bad else ExitCode.DONE
