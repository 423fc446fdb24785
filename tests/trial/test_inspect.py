"""Asking the levers: one of others' that fails is left out, one of ours that fails is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from autotune import levers
from autotune.levers import attention as built_in
from autotune.levers import load_levers
from autotune.records import InspectSpec
from autotune.trial import inspect
from tests.trial.bench import CPU, tiny_model


def cannot_answer(*_: object) -> NoReturn:
    raise RuntimeError("I cannot answer")


def names(found: Any) -> set[str]:
    return {choice.lever for choice in found.choices}


def test_a_lever_of_others_that_cannot_answer_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = SimpleNamespace(name="broken", choices=cannot_answer)
    everyone = {**load_levers(), "broken": broken}
    monkeypatch.setattr(levers, "load_levers", lambda: everyone)
    found, _ = inspect.inspect_model(InspectSpec(model=tiny_model("flux"), device=CPU))
    assert names(found) == set(everyone) - {"broken"}
    assert "RuntimeError: I cannot answer" in capsys.readouterr().err


def test_a_lever_of_ours_that_cannot_answer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(built_in, "choices", cannot_answer)
    with pytest.raises(RuntimeError, match="I cannot answer"):
        inspect.inspect_model(InspectSpec(model=tiny_model("flux"), device=CPU))
