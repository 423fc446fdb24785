"""``autotune export``: a recipe as a script of plain diffusers code. Works without torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from autotune.errors import ExitCode

SUMMARY = "write a recipe as plain diffusers code, or as environment variables"
EXAMPLE = "autotune export autotune-runs/demo/recipe.json --out demo.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", type=Path, help="a recipe file")
    parser.add_argument(
        "--to",
        metavar="python|env",
        default="python",
        help="python: a script that needs no autotune; env: variables for a shell "
        "(default: python)",
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it there, do not print it")
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument(
        "--model", help="where the model is; needed where the recipe is of a local folder"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="a file that was measured with (repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write or print it; 1 where a choice cannot be told."""
    from autotune.files import check_writable, write_atomic
    from autotune.models.given import parse_checkpoints
    from autotune.recipe.export import export

    out: Path | None = arguments.out
    if out is not None:
        check_writable(out, overwrite=arguments.force)
    text = export(
        arguments.recipe,
        to=arguments.to,
        model=arguments.model,
        checkpoints=parse_checkpoints(arguments.checkpoint),
    )
    if out is not None:
        write_atomic(out, text.encode(), overwrite=arguments.force)
    if arguments.json:
        told = {"to": arguments.to, "out": str(out) if out else None, "text": text}
        print(json.dumps(told))
    elif out is None:
        print(text, end="")
    else:
        print(f"{out}: {arguments.to}, from {arguments.recipe}")
    return ExitCode.DONE
