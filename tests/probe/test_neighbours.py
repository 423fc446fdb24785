"""What others do, told from snapshots."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.probe.cpu_time import (
    ProcessTime,
    parse_cpu_ticks,
    parse_process_stat,
    sum_of_family,
)
from autotune.probe.neighbours import Snapshot, neighbours, share_of_others
from tests.probe.machines import CPU
from tests.stubs.nvml import DRIVER_NOT_LOADED, GIB, GPU_IS_LOST, RESET_REQUIRED, StubNvml, card

CODE = """
from autotune.probe.neighbours import neighbours
from autotune.records import Device
uuid = "GPU-01111111-2222-3333-4444-555555555555"
card = Device(kind="cuda", uuid=uuid, name="card", total_bytes=1, free_bytes=1)
print(neighbours(card).model_dump_json())
"""


def test_the_use_of_a_card_is_counted_though_nobody_says_how_much_is_whose(
    nvml: StubNvml, run: Callable[..., Any]
) -> None:
    nvml.set(**{"0.processes": "41:? 42:?", "0.drawing": "42:? 43:?", "0.utilisation": 87})
    seen = run(CODE, nvml.env())
    assert seen["used_bytes"] == 8 * GIB
    assert (seen["processes"], seen["utilisation"], seen["lost"]) == (3, 0.87, None)
    assert seen["busy_ticks"] <= seen["total_ticks"]


@pytest.mark.fault("G10")
def test_a_card_is_found_by_uuid_wherever_it_is_in_the_order(
    nvml: StubNvml, run: Callable[..., Any]
) -> None:
    ours = "GPU-01111111-2222-3333-4444-555555555555"
    nvml.set(count=2, **card(0, uuid="GPU-other"), **card(1, uuid=ours, free=0, reserved=0))
    assert run(CODE, nvml.env())["used_bytes"] == 139 * GIB


def test_a_use_that_cannot_be_read_is_unknown_by_itself(
    nvml: StubNvml, run: Callable[..., Any]
) -> None:
    nvml.fail("nvmlDeviceGetComputeRunningProcesses_v3", 4)
    nvml.set(**{"0.utilisation": None})
    seen = run(CODE, nvml.env())
    assert set(seen["unknown"]) == {"processes", "utilisation"}
    assert (seen["used_bytes"], seen["processes"]) == (8 * GIB, None)


@pytest.mark.fault("G3")
@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        ("nvmlDeviceGetHandleByUUID", GPU_IS_LOST, "lost"),
        ("nvmlDeviceGetMemoryInfo", GPU_IS_LOST, "lost"),
        ("nvmlDeviceGetMemoryInfo", RESET_REQUIRED, "reset"),
        ("nvmlInitWithFlags", DRIVER_NOT_LOADED, "not loaded"),
    ],
)
def test_a_card_that_went_away_is_lost(
    nvml: StubNvml, run: Callable[..., Any], function: str, code: int, words: str
) -> None:
    nvml.fail(function, code)
    nvml.fail(f"{function}_v2", code)
    assert words in run(CODE, nvml.env())["lost"]


def test_a_card_that_is_no_longer_listed_is_lost(nvml: StubNvml, run: Callable[..., Any]) -> None:
    nvml.set(**{"0.uuid": "GPU-another"})
    assert "no longer there" in run(CODE, nvml.env())["lost"]


@pytest.mark.fault("G5")
def test_a_driver_that_is_silent_has_not_lost_the_card(
    nvml: StubNvml, run: Callable[..., Any]
) -> None:
    nvml.hang("nvmlDeviceGetUtilizationRates")
    seen = run(CODE.replace("(card)", "(card, deadline_s=1)"), nvml.env())
    assert seen["lost"] is None
    assert "did not answer within 1 s" in seen["unknown"]["used_bytes"]


def test_the_time_of_our_child_is_not_that_of_others() -> None:
    spin = [sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(spin) as child:
        try:
            before = neighbours(CPU, own=[os.getpid()])
            time.sleep(0.6)
            after = neighbours(CPU, own=[os.getpid()])
        finally:
            child.kill()
    others = share_of_others(before, after)
    everyone = share_of_others(before.but(own_ticks=0), after.but(own_ticks=0))
    assert others is not None
    assert everyone is not None
    assert everyone - others > 0.2 / (os.cpu_count() or 1)


def snapshot(total: int, busy: int, own: int | None = 0) -> Snapshot:
    return Snapshot(total_ticks=total, busy_ticks=busy, own_ticks=own)


@pytest.mark.fault("G12")
@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (snapshot(100, 10), snapshot(200, 60), 0.5),
        (snapshot(100, 10, 5), snapshot(200, 60, 55), 0.0),
        (snapshot(100, 10, 5), snapshot(200, 60, 99), 0.0),
        (snapshot(100, 10, 50), snapshot(200, 60, 0), 0.5),
        (snapshot(100, 10), snapshot(200, 300), 1.0),
        (snapshot(100, 10), snapshot(100, 10), None),
        (snapshot(100, 10), snapshot(200, 60, None), None),
        (Snapshot(), snapshot(200, 60), None),
    ],
)
def test_the_share_of_others_is_what_we_did_not_take(
    before: Snapshot, after: Snapshot, share: float | None
) -> None:
    assert share_of_others(before, after) == share


def test_the_first_line_of_stat_is_read() -> None:
    assert parse_cpu_ticks("cpu  10 20 30 400 50 1 2 3 9 9\ncpu0 1 1 1 1") == (516, 66)
    assert parse_cpu_ticks("cpu0 1 2 3 4") == (None, None)
    assert parse_cpu_ticks("") == (None, None)


def test_a_process_may_have_any_name() -> None:
    stat = "7 (a) b (c)) S 3 7 7 0 -1 4 1 1 1 1 100 20 3 4 20 0 1 0 5"
    assert parse_process_stat(stat) == ProcessTime(3, 127)


def test_descendants_are_ours_and_a_loop_of_parents_ends() -> None:
    times = {
        1: ProcessTime(0, 1000),
        2: ProcessTime(1, 1),
        3: ProcessTime(2, 10),
        4: ProcessTime(3, 100),
        8: ProcessTime(9, 1),
        9: ProcessTime(8, 1),
    }
    assert sum_of_family(times, [2]) == 111
    assert sum_of_family(times, [8]) == 2
    assert sum_of_family(times, []) == 0
    assert sum_of_family(times, [2, 77]) is None


@settings(deadline=None)
@given(st.text(max_size=200))
def test_no_text_upsets_the_parsers(text: str) -> None:
    parse_cpu_ticks(text)
    parse_cpu_ticks(f"cpu {text}")
    parse_process_stat(f"1 (x) {text}")


def test_a_missing_proc_leaves_everything_unknown(tmp_path: Path) -> None:
    assert neighbours(CPU, root=tmp_path) == Snapshot(own_ticks=0)
