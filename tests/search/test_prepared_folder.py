"""What trials of a study keep for each other goes when the study ends, however it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.records import Outcome, TrialSpec
from tests.search.studies import WORLD, study


def keeping(spec: TrialSpec) -> Outcome:
    """WORLD, whose trials keep something."""
    assert spec.prepared is not None
    folder = Path(spec.prepared) / "transformer"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_bytes(b"many")
    return WORLD(spec)


def test_all_trials_of_a_study_share_one_folder_and_it_goes_with_the_study(
    tmp_path: Path,
) -> None:
    seen: list[bool] = []

    def looking(spec: TrialSpec) -> Outcome:
        seen.append(Path(str(spec.prepared)).exists())
        return keeping(spec)

    result, engine, _ = study(tmp_path, looking)
    assert len({spec.prepared for spec in engine.specs}) == 1
    assert seen[0] is False
    assert all(seen[1:]), "it is there as long as trials run"
    assert result.recipe is not None
    assert not Path(str(engine.specs[0].prepared)).exists()


def test_it_goes_when_the_study_is_interrupted(tmp_path: Path) -> None:
    calls: list[TrialSpec] = []

    def interrupted(spec: TrialSpec) -> Outcome:
        calls.append(spec)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return keeping(spec)

    result, _, _ = study(tmp_path, interrupted)
    assert result.interrupted
    assert not Path(str(calls[0].prepared)).exists()


def test_it_goes_when_the_study_fails(tmp_path: Path) -> None:
    folders: list[str | None] = []

    def broken(spec: TrialSpec) -> Outcome:
        keeping(spec)
        folders.append(spec.prepared)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        study(tmp_path, broken)
    assert not Path(str(folders[0])).exists()
