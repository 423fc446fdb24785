"""Make the tables of what a campaign measured: ``results.md`` beside its ``rows.jsonl``.

python tests/benchmarks/campaign_table.py FOLDER
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    machine = json.loads((folder / "machine.json").read_text())
    text = "\n".join(lines(rows, machine)) + "\n"
    (folder / "results.md").write_text(text)
    print(text, end="")


def lines(rows: list[Row], machine: Mapping[str, Any]) -> Iterator[str]:
    """The whole page."""
    dates = sorted({row["at"][:10] for row in rows})
    yield f"# {rows[0]['device']}, driver {rows[0]['driver']}, {' to '.join(dates)}"
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in sorted(machine["software"].items()))
    yield ""
    yield "Random weights at full size: times and memory are the model's, pictures mean nothing."
    for stage in dict.fromkeys(row["stage"] for row in rows):
        own = [row for row in rows if row["stage"] == stage]
        yield from ("", f"## {stage}", "")
        yield from candidates(own) if any("outcome" in row for row in own) else said(own)


def candidates(rows: list[Row]) -> Iterator[str]:
    """One candidate a line, and how far off what was foreseen is."""
    yield "| candidate | an image, s | foreseen | peak, GB | foreseen | outcome |"
    yield "|---|---|---|---|---|---|"
    off: list[float] = []
    for row in rows:
        outcome, foreseen = row.get("outcome") or {}, row.get("foreseen") or {}
        took, peak, ended = "", "", row["said"]
        if outcome:
            ended = " ".join(filter(None, (outcome["status"], outcome["message"])))
        if outcome and outcome["status"] == "measured":
            took = f"{statistics.median(outcome['samples_s']):.3f}"
            peak = f"{outcome['memory']['peak_bytes'] / 1e9:.2f}"
            off.append(foreseen["peak_bytes"] / outcome["memory"]["peak_bytes"] - 1)
        cells = (
            row["name"],
            took,
            f"{foreseen['latency_s']:.3f}" if foreseen else "",
            peak,
            f"{foreseen['peak_bytes'] / 1e9:.2f}" if foreseen else "",
            ended.replace("|", "/"),
        )
        yield f"| {' | '.join(cells)} |"
    if off:
        yield ""
        shown = ", ".join(f"{one:+.1%}" for one in off)
        yield f"Foreseen against measured peaks: {shown}."


def said(rows: list[Row]) -> Iterator[str]:
    """What other stages said of themselves."""
    for row in rows:
        yield f"- {row['name']}: {row['said']}"


if __name__ == "__main__":
    main()
