"""``autotune schema``: the JSON Schema of a file, for editors and other programs."""

from __future__ import annotations

import argparse
import json
import sys

from autotune.errors import ExitCode

SUMMARY = "print the JSON Schema of a file that people write or machines exchange"
EXAMPLE = "autotune schema search-space"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="which file (default: list the names)"
    )
    parser.add_argument("--json", action="store_true", help="list the names as one JSON object")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print a schema, or the names there are."""
    from autotune.formats import FORMATS, schema_of

    if arguments.name is not None:
        json.dump(schema_of(arguments.name), sys.stdout, indent=2, ensure_ascii=False)
        print()
    elif arguments.json:
        listed = {
            name: {"what": one.what, "by": one.by, "syntax": one.syntax}
            for name, one in FORMATS.items()
        }
        print(json.dumps(listed))
    else:
        width = max(map(len, FORMATS))
        for name, one in FORMATS.items():
            print(f"{name:{width}}  {one.what} ({one.syntax}; written by {one.by})")
    return ExitCode.DONE
