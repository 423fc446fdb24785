"""Every choice that a card offers, one short generation each, with its evidence.

``AUTOTUNE_RESULTS=FOLDER`` keeps what was seen as JSON and as a table, for
``tests/benchmarks/results``.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest

from autotune.levers import load_levers
from autotune.levers.rules import broken_rule
from autotune.probe import probe_machine
from autotune.probe.software import probe_software
from autotune.records import Choice, Device
from autotune.status import Status
from tests.gpu.conftest import model_of

pytestmark = [pytest.mark.gpu, pytest.mark.trials]

#: The embedded model's Linears are large enough for every kernel; the others are tiny.
PIPELINES = ("demo", "sd15", "sdxl", "wan")


@pytest.fixture(scope="module")
def seen(card: Device):
    """What every trial of this module came to, written at the end."""
    rows: list[dict[str, object]] = []
    yield rows
    folder = os.environ.get("AUTOTUNE_RESULTS")
    if folder:
        machine = probe_machine()
        facts = {"device": card.model_dump(mode="json"), "software": dict(machine.software)}
        path = Path(folder) / "levers-on-cuda"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".json").write_text(json.dumps({**facts, "rows": rows}, indent=1))
        path.with_suffix(".md").write_text(table(card, machine.software, rows))


def table(card: Device, software, rows) -> str:
    """The rows as Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(software.items()))
    lines = [
        f"# Every choice on {card.name}, driver {card.driver}",
        "",
        versions,
        "",
        "| pipeline | lever | choice | outcome | seconds | peak MiB | evidence |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row[name] for name in ("pipeline", "lever", "choice", "status"))
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.4f}"
        peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 2**20:.0f}"
        told = str(row["detail"]).replace("|", "/")[:160]
        lines.append(f"| {' | '.join(map(str, cells))} | {seconds} | {peak} | {told} |")
    return "\n".join(lines) + "\n"


_software = functools.cache(probe_software)


def legal(
    candidate: dict[str, str],
    lever: str,
    choices: tuple[Choice, ...],
    card: Device,
    family: str | None,
) -> dict[str, str]:
    """The candidate, with one change of another lever where the rules ask for company."""
    software = _software()
    company = [{}] + [
        {one.lever: one.id} for one in choices if one.lever != lever and one.unavailable is None
    ]
    for change in company:
        found = candidate | change
        if broken_rule(found, device=card.kind, family=family, software=software) is None:
            return found
    raise AssertionError(f"no change of one lever makes {candidate[lever]} legal")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lever", sorted(load_levers()))
@pytest.mark.parametrize("name", PIPELINES)
def test_every_available_choice_engages(
    card, offered, tried, seen, name: str, lever: str, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    choices = offered(name)
    baseline = {choice.lever: choice.id for choice in choices if choice.baseline}
    family = model_of(name).family
    for choice in choices:
        if choice.lever != lever or choice.baseline:
            continue
        if choice.unavailable is not None:
            row = {"status": "unavailable", "seconds": None, "peak_bytes": None}
            row |= {"detail": choice.unavailable}
            seen.append({"pipeline": name, "lever": lever, "choice": choice.id, **row})
            continue
        candidate = legal(baseline | {lever: choice.id}, lever, choices, card, family)
        outcome = tried(name, candidate, tmp_path / choice.id)
        evidence = outcome.engaged.get(lever)
        seen.append(
            {
                "pipeline": name,
                "lever": lever,
                "choice": choice.id,
                "status": outcome.status.value,
                "seconds": min(outcome.samples_s, default=None),
                "first_s": outcome.first_s,
                "load_s": outcome.load_s,
                "peak_bytes": outcome.memory.peak_bytes if outcome.memory else None,
                "host_bytes": outcome.memory.host_bytes if outcome.memory else None,
                "pinned_bytes": outcome.memory.pinned_bytes if outcome.memory else None,
                "detail": outcome.message or (evidence.detail if evidence else ""),
            }
        )
        with subtests.test(f"{name} {lever}={choice.id}"):
            assert outcome.status is Status.MEASURED, outcome.message
            assert evidence is not None
            assert evidence.engaged, evidence.detail
