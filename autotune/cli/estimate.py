"""``autotune estimate``: what fits, what binds and how long it takes, before anything is run."""

from __future__ import annotations

import argparse
import sys

from autotune.errors import BadInput, ExitCode, shorten

SUMMARY = "foresee what fits and how fast it is, on any card, without a GPU or the weights"
EXAMPLE = 'autotune estimate --model flux --vram 12GB --gpu "RTX 3060"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--model", required=True, help="alias, org/name, or a diffusers folder")
    parser.add_argument(
        "--vram", metavar="SIZE", help="12GB, 12GiB, 80%% or free-1GiB (default: all of the card)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpu", metavar="CARD", help='a card that need not be here: "RTX 4090"')
    where.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    parser.add_argument(
        "--ram",
        metavar="SIZE",
        help="host memory that offloading may take (default: of a card that is not here, any)",
    )
    parser.add_argument(
        "--quality",
        metavar="PRESET",
        default="balanced",
        help="exact, close, balanced or any: how much pictures may change (default: balanced)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="LEVER=CHOICE",
        help="leave a lever at this choice (repeatable)",
    )
    parser.add_argument("--space", metavar="NAME|FILE", help="another search space")
    defaults = "workload (default: what the model is usually run with)"
    work = parser.add_argument_group(defaults)
    work.add_argument("--size", metavar="WIDTHxHEIGHT", help="of the picture: 1024x1024")
    for name in ("steps", "batch", "frames"):
        work.add_argument(f"--{name}", metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object and no text")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Foresee and print; 1 where nothing is foreseen to fit."""
    import json

    from autotune.asked import Asked, make_question
    from autotune.foresee import forecast
    from autotune.search.space import parse_pins

    asked = Asked(
        vram=arguments.vram,
        device=arguments.device,
        fix=parse_pins(arguments.set),
        space=arguments.space,
        quality=arguments.quality,
        ram=arguments.ram,
        workload=_workload(arguments),
    )

    def say(sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    found = forecast(make_question(arguments.model, asked, arguments.gpu), say=say)
    if arguments.json:
        from autotune.report.forecast import to_json

        print(json.dumps(to_json(found)))
    else:
        from autotune.report.forecast import print_forecast

        print_forecast(found, arguments.model, sys.stdout)
    return ExitCode.DONE if found.best else ExitCode.NO_RESULT


def _workload(arguments: argparse.Namespace) -> dict[str, int | None]:
    from autotune.units import parse_count

    given = {name: getattr(arguments, name) for name in ("steps", "batch", "frames")}
    counts = {
        name: None if text is None else parse_count(text, name) for name, text in given.items()
    }
    if arguments.size is None:
        return counts
    width, sign, height = arguments.size.lower().replace("×", "x").partition("x")
    if not (sign and width and height):
        raise BadInput(f"{shorten(arguments.size)} is not a size", hint="--size 1024x768")
    return {
        **counts,
        "width": parse_count(width, "width"),
        "height": parse_count(height, "height"),
    }
