"""Predicted against measured peaks on a card, over the choices that change memory.

The promise: a median error of 10 %, and no peak more than 5 % above what was foreseen.
``AUTOTUNE_RESULTS=FOLDER`` keeps every row, for ``tests/benchmarks/results``.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import pytest

from autotune.estimate.memory import estimate_memory
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import PROFILE, read_profile
from autotune.levers import start_up_s
from autotune.levers.rules import broken_rule
from autotune.probe import probe_machine
from autotune.records import InspectSpec
from autotune.status import Status
from tests.gpu.conftest import model_of

pytestmark = [pytest.mark.gpu, pytest.mark.trials]

_LEVERS = ("dtype", "offload", "quantize-denoiser", "vae-tiling", "layerwise-casting", "batch")


@pytest.mark.parametrize("name", ["demo", "sd15", "wan"])
def test_peaks_are_foreseen(name, engine, card, tried, tmp_path):
    model = model_of(name)
    choices = engine.inspect(InspectSpec(model=model, device=card), tmp_path / "inspect").choices
    profile = read_profile(tmp_path / "inspect" / PROFILE)
    assert profile.uncounted is None
    baseline = {choice.lever: choice.id for choice in choices if choice.baseline}
    software = probe_machine().software
    rows = []
    for one in choices:
        candidate = {**baseline, one.lever: one.id}
        wanted = one.lever in _LEVERS and one.unavailable is None and not start_up_s(candidate)
        rule = broken_rule(candidate, device=card.kind, family=model.family, software=software)
        if not wanted or rule is not None:
            continue
        outcome = tried(name, candidate, tmp_path / f"{one.lever}-{one.id}")
        if outcome.status is Status.MEASURED:
            foreseen = estimate_memory(profile, plan_of(model, card, candidate))
            rows.append(
                {
                    "choice": f"{one.lever}={one.id}",
                    "measured": outcome.memory.model_dump(mode="json"),
                    "foreseen_bytes": foreseen.peak_bytes,
                    "error": foreseen.peak_bytes / outcome.memory.peak_bytes - 1,
                }
            )
    if folder := os.environ.get("AUTOTUNE_RESULTS"):
        Path(folder, f"memory-on-cuda-{name}.json").write_text(json.dumps(rows, indent=1))
    errors = [row["error"] for row in rows]
    assert len(errors) >= 10
    assert statistics.median(map(abs, errors)) <= 0.10, rows
    assert min(errors) >= -0.05, rows
