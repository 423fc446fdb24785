"""A log that grows and grows takes no more of the disk than both its ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autotune.engine.log import MOST_BYTES, cut_log, relieve_disk

MIB = 1 << 20


@pytest.mark.fault("T21")
def test_while_it_is_written_the_middle_is_given_back_and_nothing_is_lost_of_its_ends(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.txt"
    with path.open("ab", buffering=0) as log:
        log.write(b"head\n")
        for _ in range(40):
            log.write(b"x" * MIB)
        relieve_disk(path)
        taken = os.stat(path).st_blocks * 512
        if taken > 40 * MIB:
            pytest.skip("this file system cannot punch holes")
        assert taken <= MOST_BYTES
        log.write(b"\ntail\n")
    assert path.stat().st_size > 40 * MIB
    cut_log(path)
    data = path.read_bytes()
    assert len(data) <= MOST_BYTES
    assert data.startswith(b"head\nxxx")
    assert data.endswith(b"xxx\ntail\n")
    assert b"\0" not in data


def test_a_log_within_bounds_and_one_that_is_gone_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    for each in (relieve_disk, cut_log):
        each(path)
        assert not path.exists()
    path.write_bytes(b"y" * MOST_BYTES)
    cut_log(path)
    assert path.read_bytes() == b"y" * MOST_BYTES
