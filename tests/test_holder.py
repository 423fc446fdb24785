"""Who holds a lock is named, and never mistaken for whoever has its process id today."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.holder import holder_of, note_holder
from tests.sources import ROOT


def noted(path: Path, **changes: object) -> Path:
    """A lock's file that this process has written, with some of it changed."""
    with path.open("w+") as file:
        note_holder(file.fileno())
    if changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_a_holder_that_runs_is_named_with_when_it_began(tmp_path: Path) -> None:
    said = holder_of(noted(tmp_path / "lock"))
    assert re.fullmatch(rf" \(process {os.getpid()}, since \d{{4}}-\d\d-\d\d \d\d:.*\)", said)


def test_a_holder_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    path = noted(tmp_path / "lock", host="elsewhere", started=1, boot="another")
    assert f"(process {os.getpid()} on elsewhere, since " in holder_of(path)


def test_what_anybody_may_have_written_into_it_is_shown_as_one_line(tmp_path: Path) -> None:
    said = holder_of(noted(tmp_path / "lock", host="a\x1b[31m\nhint: b" + "c" * 80))
    assert " on a [31m hint: bccc" in said
    assert said.isprintable()


@pytest.mark.fault("C17")
@pytest.mark.parametrize("changed", [{"started": 1}, {"boot": "of yesterday"}])
def test_a_process_id_that_was_used_again_is_not_the_holder(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    said = holder_of(noted(tmp_path / "lock", **changed))
    assert said == f" (what process {os.getpid()} left running when it ended)"


@pytest.mark.fault("C17")
def test_a_holder_that_has_ended_is_not_said_to_run(tmp_path: Path) -> None:
    script = "import sys; from autotune.holder import note_holder; note_holder(1)"
    with (tmp_path / "lock").open("w") as lock:
        ended = subprocess.Popen([sys.executable, "-c", script], stdout=lock, cwd=ROOT)
        ended.wait(30)
    said = f" (what process {ended.pid} left running when it ended)"
    assert holder_of(tmp_path / "lock") == said


@pytest.mark.parametrize("text", ["", "[]", "7", '{"pid": 1}', '{"pid": ', "[" * 100_000, "\0"])
def test_garbage_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    assert holder_of(tmp_path / "lock") == ""
