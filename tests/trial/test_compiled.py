"""What was compiled is used again if it is what a whole trial left, byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.trial.compiled import check_compiled, note_compiled


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A study's folder with a cache that a trial has left."""
    (tmp_path / "inductor" / "5u").mkdir(parents=True)
    (tmp_path / "inductor" / "locks").mkdir()
    (tmp_path / "inductor" / "5u" / "kernel.so").write_bytes(b"\x7fELF" + bytes(100))
    (tmp_path / "inductor" / "5u" / "kernel.cpp").write_text("int main() {}")
    (tmp_path / "inductor" / "locks" / "kernel.lock").touch()
    note_compiled(tmp_path)
    return tmp_path


def test_a_whole_cache_is_left_alone(prepared: Path) -> None:
    (prepared / "inductor" / "locks" / "another.lock").touch()
    before = sorted(prepared.rglob("*"))
    check_compiled(prepared)
    assert sorted(prepared.rglob("*")) == before


@pytest.mark.fault("T14")
@pytest.mark.parametrize(
    "damage",
    [
        lambda kernel: kernel.write_bytes(kernel.read_bytes()[:50]),
        lambda kernel: kernel.write_bytes(b"\x7fELF" + bytes(99) + b"\x01"),
        lambda kernel: kernel.unlink(),
    ],
)
def test_a_damaged_one_is_put_aside(prepared: Path, damage: Callable[[Path], None]) -> None:
    damage(prepared / "inductor" / "5u" / "kernel.so")
    check_compiled(prepared)
    assert {path.name for path in prepared.iterdir()} == {"inductor-damaged-1"}
    check_compiled(prepared)  # there is nothing yet


@pytest.mark.fault("T14")
def test_what_a_trial_left_that_was_cut_off_is_dropped(prepared: Path) -> None:
    torn = prepared / "inductor" / "5u" / "torn.so"
    torn.write_bytes(b"\x7fEL")
    check_compiled(prepared)
    assert not torn.exists()
    assert (prepared / "inductor" / "5u" / "kernel.so").exists()


@pytest.mark.parametrize("notes", [b"", b"[]", b"\xff", b'{"5u/kernel.so": '])
def test_without_readable_notes_nothing_is_known_to_be_whole(prepared: Path, notes: bytes) -> None:
    (prepared / "inductor.json").write_bytes(notes)
    check_compiled(prepared)
    assert not list(prepared.rglob("*.so"))
