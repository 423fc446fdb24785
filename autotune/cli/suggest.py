"""``autotune suggest``: find the fastest setup that fits."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune.errors import ExitCode

if TYPE_CHECKING:
    from autotune.search.listener import Listener
    from autotune.search.study import Result

SUMMARY = "find the fastest setup of a model that fits the memory, and write it as a recipe"
EXAMPLE = "autotune suggest --model flux --vram 12GB --set dtype=bf16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--model", required=True, help="alias, org/name[@revision], or a diffusers folder"
    )
    parser.add_argument(
        "--weights",
        metavar="real|random",
        default="real",
        help="random: those of a catalogue model at its size, without a download (default: real)",
    )
    parser.add_argument(
        "--vram",
        metavar="SIZE",
        help="12GB, 12GiB, 80%% or free-1GiB, or several: 8GB,12GB,24GB (default: what is free)",
    )
    parser.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    _add_search(parser.add_argument_group("search"))
    _add_measuring(parser.add_argument_group("measuring"))
    defaults = "workload (default: what the model is usually run with)"
    _add_workload(parser.add_argument_group(defaults))
    _add_output(parser.add_argument_group("output"))
    parser.add_argument(
        "--restart",
        action="store_true",
        help="measure anew (default: go on with the same study if it was interrupted, and answer "
        "from it if it ended)",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="fail if another autotune holds the device"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "debug"),
        default="local",
        help="debug runs trials in this process, for breakpoints (default: local)",
    )


def _add_search(search: Any) -> None:
    search.add_argument("--trials", metavar="N", help="the most candidates to try (default: 12)")
    search.add_argument("--time", metavar="DURATION", help="the most time to take: 90s, 15m, 1h")
    search.add_argument(
        "--sampler",
        metavar="NAME",
        default="shortlist",
        help="what proposes candidates: shortlist, tpe, gp, random, grid, or module:Class of "
        "Optuna's kind (default: shortlist)",
    )
    search.add_argument(
        "--exhaustive",
        action="store_true",
        help="try every candidate that may fit, the fastest by what is foreseen first",
    )
    search.add_argument(
        "--against",
        metavar="docs",
        help="measure the winner beside what diffusers' documentation advises for the model",
    )
    search.add_argument("--seed", metavar="N", default="0", help="of the search (default: 0)")
    search.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="LEVER=CHOICE",
        help="leave a lever at this choice (repeatable); autotune levers lists them",
    )
    search.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="COMPONENT=PATH",
        help="a file to try in place of a component's weights (repeatable): a GGUF file or "
        "pre-quantized folder of the denoiser, a tiny VAE",
    )
    search.add_argument(
        "--space",
        metavar="NAME|FILE",
        help="another search space: lossless, thorough, throughput, or a TOML file",
    )
    search.add_argument(
        "--quality",
        metavar="PRESET",
        default="balanced",
        help="how much a setup may change the picture: exact, close, balanced, any "
        "(default: balanced)",
    )
    which = search.add_mutually_exclusive_group()
    which.add_argument(
        "--book",
        metavar="FOLDER",
        help="try first what the nearest recipes of this book chose (default, if it is there: "
        "$AUTOTUNE_BOOK, else ~/.local/share/autotune/book)",
    )
    which.add_argument("--no-book", action="store_true", help="start from no recipes")
    search.add_argument(
        "--ram", metavar="SIZE", help="host memory that offloading to it may take (default: all)"
    )


def _add_measuring(measuring: Any) -> None:
    measuring.add_argument(
        "--objective",
        metavar="WHICH",
        default="steady",
        help="which time counts: steady, first (of a process, compiling included), or total:N, "
        "loading and N images (default: steady)",
    )
    measuring.add_argument(
        "--effort",
        metavar="HOW",
        default="standard",
        help="how much is measured: quick, standard, thorough (default: standard)",
    )


def _add_workload(work: Any) -> None:
    work.add_argument("--prompt", action="append", help="what to generate (repeatable)")
    for name in ("height", "width", "steps", "batch", "frames"):
        work.add_argument(f"--{name}", metavar="N")


def _add_output(output: Any) -> None:
    output.add_argument("--out", metavar="FILE", help="the recipe's path (default: run folder)")
    output.add_argument(
        "--runs",
        metavar="FOLDER",
        default="autotune-runs",
        help="where run folders are made (default: autotune-runs)",
    )
    output.add_argument(
        "--record",
        metavar="FILE",
        help="write what was measured as a recorded space, for autotune replay",
    )
    output.add_argument(
        "--add-to-book",
        action="store_true",
        help="put the recipe into the book, if it is confirmed",
    )
    output.add_argument("--force", action="store_true", help="replace files that exist")
    output.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object (a list for several budgets)",
    )
    output.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run the study and print its results; 1 where a budget got no recipe."""
    from autotune.cli.view import make_view
    from autotune.search.space import parse_pins

    options = _options(arguments)
    with make_view(quiet=arguments.quiet) as view:
        results = _suggest(arguments, parse_pins(arguments.set), options, view)
    try:
        _print(results, as_json=arguments.json)
    except OSError:
        if results[0].stopped_by is None:
            raise
    if results[0].stopped_by is not None:
        raise results[0].stopped_by  # main knows which signal it was
    none = any(result.status == "none_fits" for result in results)
    return ExitCode.NO_RESULT if none else ExitCode.DONE


def _print(results: list[Result], *, as_json: bool) -> None:
    if as_json:
        from autotune.report.json import to_json

        answers = [to_json(result) for result in results]
        print(json.dumps(answers[0] if len(answers) == 1 else answers))
    else:
        from autotune.report.text import print_results

        print_results(results, sys.stdout)


def _suggest(
    arguments: argparse.Namespace, pins: Mapping[str, str], options: dict[str, Any], view: Listener
) -> list[Result]:
    from autotune.api import suggest, suggest_each
    from autotune.models.given import parse_checkpoints
    from autotune.units import split_budgets

    options |= {"fix": pins, "checkpoints": parse_checkpoints(arguments.checkpoint)}
    vrams = split_budgets(arguments.vram or "")
    if len(vrams) > 1:
        return suggest_each(arguments.model, vrams, listener=view, **options)
    return [suggest(arguments.model, vram=arguments.vram, listener=view, **options)]


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    from autotune.asked import LARGEST_SEED
    from autotune.units import parse_count

    def count(name: str) -> int | None:
        text = getattr(arguments, name)
        return None if text is None else parse_count(text, name)

    workload: dict[str, Any] = {
        name: count(name) for name in ("height", "width", "steps", "batch", "frames")
    }
    if arguments.prompt:
        workload["prompts"] = tuple(arguments.prompt)
    return {
        "device": arguments.device,
        "trials": count("trials"),
        "time": arguments.time,
        "seed": parse_count(arguments.seed, "seed", LARGEST_SEED, least=0),
        "sampler": arguments.sampler,
        "exhaustive": arguments.exhaustive,
        "record": arguments.record,
        "against": arguments.against,
        "objective": arguments.objective,
        "effort": arguments.effort,
        "restart": arguments.restart,
        "space": arguments.space,
        "quality": arguments.quality,
        "weights": arguments.weights,
        "ram": arguments.ram,
        "workload": workload,
        "out": arguments.out,
        "runs": arguments.runs,
        "force": arguments.force,
        "book": False if arguments.no_book else arguments.book,
        "add_to_book": arguments.add_to_book,
        "wait": not arguments.no_wait,
        "engine": arguments.engine,
    }
