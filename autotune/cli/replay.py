"""``autotune replay``: search a recorded space instead of a device."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import BadInput, ExitCode, shorten

if TYPE_CHECKING:
    from autotune.search.recorded import RecordedSpace
    from autotune.units import BudgetRequest

SUMMARY = "search a recorded space instead of a device, to compare samplers in seconds"
EXAMPLE = "autotune replay space.jsonl --vram 1GB --trials 20 --seeds 20"

#: More would take hours, and say nothing that thousands do not.
_MOST_SEEDS, _MOST_TRIALS = 10_000, 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("file", metavar="FILE", help="what autotune suggest --record wrote")
    parser.add_argument(
        "--vram", metavar="SIZE", required=True, help="12GB, 12GiB, or 80%% of the device"
    )
    parser.add_argument(
        "--trials", metavar="N", default="20", help="the most candidates to try (default: 20)"
    )
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        default="shortlist",
        help="shortlist, tpe, gp, random, grid, or module:Class (default: shortlist)",
    )
    parser.add_argument(
        "--seeds", metavar="N", default="20", help="searches, with seeds 0, 1, … (default: 20)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and no text")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Search and print; 1 where nothing of the space fits."""
    from autotune.search.recorded import read_recorded
    from autotune.search.replay import Run, replay
    from autotune.search.samplers import check_sampler
    from autotune.units import parse_budget, parse_count

    wanted = parse_budget(arguments.vram)
    trials = parse_count(arguments.trials, "trials", _MOST_TRIALS)
    seeds = parse_count(arguments.seeds, "seeds", _MOST_SEEDS)
    check_sampler(arguments.sampler)
    table = read_recorded(Path(arguments.file))
    budget_bytes = _budget(wanted, table)
    runs: list[Run] = []
    live = sys.stderr.isatty() and not arguments.json
    for seed in range(seeds):
        if live:
            print(f"\rseed {seed + 1} of {seeds}", end="", file=sys.stderr, flush=True)
        one = replay(
            table,
            budget_bytes=budget_bytes,
            trials=trials,
            sampler=arguments.sampler,
            seed=seed,
        )
        runs.append(one)
    if live:
        print("\r", end="", file=sys.stderr)
    from autotune.report.replay import print_replay, to_json

    optimum = table.optimum(budget_bytes)
    if arguments.json:
        print(json.dumps(to_json(optimum, runs)))
    else:
        print_replay(table, budget_bytes, arguments.sampler, runs, sys.stdout)
    return ExitCode.DONE if optimum else ExitCode.NO_RESULT


def _budget(wanted: BudgetRequest, table: RecordedSpace) -> int:
    from autotune.units import format_both

    device = table.header.device if isinstance(table.header.device, dict) else {}
    total, within = device.get("total_bytes"), device.get("budget_bytes")
    if isinstance(total, int) and total > 0:
        budget = wanted.resolve(total, total)
    elif wanted.kind == "size":
        budget = wanted.amount
    else:
        raise BadInput(
            f"{shorten(wanted.text)} says nothing: the table does not say how large its device is",
            hint="--vram 12GB",
        )
    if isinstance(within, int) and budget > within:
        raise BadInput(
            f"{shorten(wanted.text)} is more than the {format_both(within)} "
            "the table was recorded within: what needs more is not in it",
            hint="give less, or record it again with a larger --vram",
        )
    return budget
