"""``autotune skeleton``: a model of any size with random weights, without a download."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from autotune.errors import BadInput, ExitCode, shorten

SUMMARY = "write a catalogue model with random weights: true speed and memory, no download"
EXAMPLE = "autotune skeleton flux ./flux-random"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("model", help="a name of the catalogue: flux, sdxl, wan-14b, …")
    parser.add_argument("folder", type=Path, help="where to write; a broken-off write goes on")
    parser.add_argument(
        "--scale",
        default="full",
        metavar="full|tiny",
        help="full: as published; tiny: same classes, some megabytes (default: full)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and no text")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Write the folder and say what is in it."""
    from autotune.models.skeleton.make import make_skeleton
    from autotune.units import format_bytes, format_duration

    scale = {"1.0": "full", "1": "full"}.get(arguments.scale, arguments.scale)
    if scale not in ("full", "tiny"):
        raise BadInput(
            f"there is no scale {shorten(arguments.scale)}", hint="--scale full or tiny"
        )
    made = make_skeleton(
        arguments.model, arguments.folder, tiny=scale == "tiny", quiet=arguments.quiet
    )
    if arguments.json:
        told = {"model": made.model, "folder": str(made.folder), "bytes": made.bytes}
        print(json.dumps({**told, "seconds": round(made.seconds, 3)}))
    else:
        size, seconds = format_bytes(made.bytes), format_duration(made.seconds)
        print(f"{made.folder}: {made.model} with random weights, {size} in {seconds}")
        # A bare name would be looked up in the catalogue.
        path = str(made.folder) if made.folder.is_absolute() else f"./{made.folder}"
        print(f"next: autotune suggest --model {shlex.quote(path)}")
    return ExitCode.DONE
