"""Recorded spaces: read strictly, written whole, and asked for what fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.search.recorded import read_recorded, write_recorded

HEADER: dict[str, Any] = {
    "format": 1,
    "kind": "space",
    "model": "demo",
    "device": {"kind": "cpu", "name": "A CPU"},
    "workload": {"steps": 4},
    "levers": {"dtype": ["bf16", "fp32"], "offload": ["none", "model"]},
    "baseline": {"dtype": "bf16", "offload": "none"},
}


def row(dtype: str, offload: str, **changes: Any) -> dict[str, Any]:
    return {
        "choices": {"dtype": dtype, "offload": offload},
        "outcome": "measured",
        "latency_s": 1.0,
        "peak_bytes": 100,
        "cost_s": 3.5,
        "predicted": {"latency_s": 1.1, "peak_bytes": 90},
        "quality": None,
        **changes,
    }


ROWS = [
    row("bf16", "none"),
    row("fp32", "none", latency_s=0.5, peak_bytes=200),
    row("bf16", "model", latency_s=1.5, peak_bytes=50),
    row("fp32", "model", outcome="out_of_vram", latency_s=None, peak_bytes=None),
]


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_the_best_is_the_fastest_of_what_was_measured_and_fits(tmp_path: Path) -> None:
    space = read_recorded(write(tmp_path / "space.jsonl", HEADER, *ROWS))
    best = {budget: space.optimum(budget) for budget in (49, 50, 100, 200)}
    assert best[49] is None
    found = {budget: one.choices for budget, one in best.items() if one is not None}
    assert found == {
        50: {"dtype": "bf16", "offload": "model"},
        100: {"dtype": "bf16", "offload": "none"},
        200: {"dtype": "fp32", "offload": "none"},
    }


def test_what_is_written_reads_back_alike(tmp_path: Path) -> None:
    space = read_recorded(write(tmp_path / "space.jsonl", HEADER, *ROWS))
    write_recorded(tmp_path / "again.jsonl", space, overwrite=False)
    assert read_recorded(tmp_path / "again.jsonl") == space
    with pytest.raises(BadInput):
        write_recorded(tmp_path / "again.jsonl", space, overwrite=False)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (row("fp8", "none"), "has no choice .fp8"),
        ({**row("fp32", "none"), "choices": {"dtype": "fp32"}}, "levers differ"),
        (row("fp32", "none", latency_s=-1.0), "latency_s"),
        (row("fp32", "none", latency_s=None), "needs latency_s"),
        (row("fp32", "none", outcome="fine"), "outcome"),
        (row("fp32", "none", more=1), "more"),
        (ROWS[0], "is there twice"),
        ('{"choices": {}, "choices": {}}', "twice"),
        ("{", "not JSON"),
    ],
)
def test_a_wrong_line_is_refused_with_its_reason(
    tmp_path: Path, line: dict[str, Any] | str, problem: str
) -> None:
    path = write(tmp_path / "space.jsonl", HEADER, ROWS[0], line)
    with pytest.raises(BadInput, match=problem):
        read_recorded(path)


@pytest.mark.parametrize("lines", [[], [HEADER], [ROWS[0]], [{**HEADER, "format": 2}, ROWS[0]]])
def test_a_file_without_a_space_is_refused(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    with pytest.raises(BadInput):
        read_recorded(write(tmp_path / "space.jsonl", *lines))


SOUND = "\n".join(json.dumps(line) for line in (HEADER, *ROWS)).encode()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.binary(max_size=4), st.integers(0, 30))
def test_whatever_the_bytes_are_they_are_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, start: int, new: bytes, gone: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(SOUND[:start] + new + SOUND[start + gone :])
    refused: BadInput | None = None
    try:
        space = read_recorded(path)
    except BadInput as error:
        refused = error
    if refused is not None:
        assert refused.message.isprintable()
        assert refused.hint
        return
    assert all(row.choices.keys() == space.header.levers.keys() for row in space.rows.values())
