"""Every lever keeps the contract of autotune.levers.base: one tester, real pipelines."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from autotune.estimate.plan import plan_of
from autotune.levers import BUILT_IN, load_levers
from autotune.levers.base import Target
from autotune.levers.plan import Plan
from autotune.models.structure import Structure
from autotune.records import Choice, Device, Evidence, Fidelity, Stage, Workload
from autotune.trial import clock, generate, output
from autotune.trial.memory import make_meter
from tests.contract.row import Row
from tests.contract.rows import ROWS
from tests.levers.built import card
from tests.tiny import TINY
from tests.trial.bench import CPU, fitted, tiny_model

pytestmark = pytest.mark.trials

#: What changes the order of additions in fp32 changes a picture by at most this (seen: 1.2e-5).
_LOSSLESS = 1e-4
CARD = card()


@dataclass(frozen=True, kw_only=True)
class Made:
    """One generation and what the lever says of it."""

    picture: Any
    evidence: Evidence


def row_name(value: object) -> str | None:
    return f"{value.lever}-{value.workload.height}px" if isinstance(value, Row) else None


def view_of(row: Row, pipeline: str) -> Structure:
    model = tiny_model(pipeline).but(weights=row.weights)
    return Structure(model, fitted(pipeline, row.workload))


def choices_of(row: Row, pipeline: str) -> dict[str, Choice]:
    view = view_of(row, pipeline)
    return {choice.id: choice for choice in load_levers()[row.lever].choices(CPU, view)}


def cases(*, available: bool) -> list[tuple[Row, str, str]]:
    return [
        (row, pipeline, choice)
        for row in ROWS
        for pipeline, accepted in row.accepts.items()
        for choice in row.released.split()
        if (choice in accepted.split()) is available
        if choice not in row.forced.get(pipeline, "").split()
        if row.run is None or choice in row.run.get(pipeline, "").split()
    ]


def forced_cases() -> list[tuple[Row, str, str]]:
    return [
        (row, pipeline, choice)
        for row in ROWS
        for pipeline, choices in row.forced.items()
        for choice in choices.split()
    ]


every_pair = pytest.mark.parametrize(
    ("row", "pipeline"), [(row, name) for row in ROWS for name in row.accepts], ids=row_name
)


@cache
def make(pipeline: str, workload: Workload, lever: str, choice: str, times: int = 1) -> Made:
    """Build with every baseline but this choice, generate once watched, and ask the lever."""
    import torch

    torch.set_num_threads(1)
    workload = fitted(pipeline, workload)
    target = Target(model=tiny_model(pipeline), device=CPU, workload=workload)
    tested = load_levers()[lever]
    choices = {row.lever: row.baseline for row in ROWS} | {lever: choice}
    if tested.stage is Stage.LOAD:
        for _ in range(times - 1):
            tested.apply(target, choice)
    generate.build_pipeline(target, choices)
    if tested.stage is not Stage.LOAD:
        for _ in range(times - 1):
            tested.apply(target, choice)
    watched = generate.watched(target, choices)
    with clock.observing(target, make_meter(CPU), lambda: None, lambda _: None, watched) as seen:
        result = generate.caller(target.pipe, workload, target.multiple)(0)
    target.seen = seen.seen
    picture = output.picture_of(result)
    assert output.problem_of(picture, result) is None
    frames = () if workload.frames is None else (workload.frames,)
    assert picture.shape == (target.batch, *frames, 3, workload.height, workload.width)
    return Made(picture=picture.float(), evidence=tested.engaged(target, choice))


@pytest.fixture(autouse=True, scope="module")
def _global_backend() -> Iterator[None]:
    """Setting a backend on a model sets one for the whole process (levers.md, A7)."""
    yield
    from diffusers.models.attention_dispatch import AttentionBackendName as Name
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

    Registry.set_active_backend(Name.NATIVE)


def test_every_built_in_lever_has_a_row() -> None:
    assert {row.lever for row in ROWS} == {name.replace("_", "-") for name in BUILT_IN}


@every_pair
def test_a_lever_offers_the_released_choices_and_one_baseline(row: Row, pipeline: str) -> None:
    view = view_of(row, pipeline)
    found = load_levers()[row.lever].choices(CPU, view)
    assert [choice.id for choice in found] == row.released.split()
    assert {choice.lever for choice in found} == {row.lever}
    assert all(choice.what for choice in found)
    assert [choice.id for choice in found if choice.baseline] == [row.baseline]
    inexact = {choice.id for choice in found if choice.fidelity is not Fidelity.EXACT}
    assert inexact == set(row.changes)


@every_pair
def test_a_choice_is_available_or_says_why_not(row: Row, pipeline: str) -> None:
    found = choices_of(row, pipeline)
    reasons = {id: choice.unavailable for id, choice in found.items()}
    assert {id for id, reason in reasons.items() if reason is None} == set(
        row.accepts[pipeline].split()
    )
    for reason in filter(None, reasons.values()):
        assert len(reason.split()) > 3, reason
        assert reason == reason.strip().rstrip(".")
        assert "\n" not in reason


@pytest.mark.parametrize("lever", load_levers())
@pytest.mark.parametrize(
    ("kind", "capability"),
    [("cuda", "7.5"), ("cuda", "9.0"), ("cuda", None), ("rocm", None), ("xpu", None)],
)
@pytest.mark.parametrize("pipeline", [None, "sd15", "flux"])
def test_the_baseline_is_available_on_every_device(
    lever: str, kind: Any, capability: str | None, pipeline: str | None
) -> None:
    device = Device(
        kind=kind,
        uuid="u",
        name="n",
        total_bytes=1,
        free_bytes=1,
        compute_capability=capability,
    )
    model = tiny_model(pipeline) if pipeline else None
    view = Structure(model, model.workload) if model else None
    found = load_levers()[lever].choices(device, view)
    assert [choice.unavailable for choice in found if choice.baseline] == [None]
    assert len({choice.id for choice in found}) == len(found)


@pytest.mark.parametrize(("row", "pipeline", "choice"), cases(available=True), ids=row_name)
def test_an_available_choice_takes_effect_and_keeps_the_picture(
    row: Row, pipeline: str, choice: str
) -> None:
    made = make(pipeline, row.workload, row.lever, choice)
    assert made.evidence.engaged, made.evidence.detail
    assert made.evidence.detail
    plain = make(pipeline, row.workload, row.lever, row.baseline).picture
    # A larger batch begins with the same noise, hence with the same pictures.
    difference = (made.picture[: len(plain)] - plain).abs()
    if choice in row.changes:
        assert (not row.visible) or float(difference.mean()) > 0
        assert float(difference.mean()) < row.changes[choice]
    else:
        assert float(difference.max()) < _LOSSLESS


@pytest.mark.parametrize(("row", "pipeline", "choice"), forced_cases(), ids=row_name)
def test_a_choice_that_is_refused_on_a_cpu_and_works_there_takes_effect_and_changes_nothing(
    row: Row, pipeline: str, choice: str
) -> None:
    assert choices_of(row, pipeline)[choice].unavailable is not None
    made = make(pipeline, row.workload, row.lever, choice)
    assert made.evidence.engaged, made.evidence.detail
    plain = make(pipeline, row.workload, row.lever, row.baseline).picture
    # Copies lie at other addresses, where kernels for AVX-512 add in another order (seen: 1.1e-6).
    assert float((made.picture - plain).abs().max()) <= _LOSSLESS


@pytest.mark.parametrize(
    ("row", "pipeline", "choice"),
    [case for case in cases(available=True) if case[2] != case[0].baseline] + forced_cases(),
    ids=row_name,
)
def test_applying_a_choice_twice_equals_applying_it_once(
    row: Row, pipeline: str, choice: str
) -> None:
    once = make(pipeline, row.workload, row.lever, choice)
    twice = make(pipeline, row.workload, row.lever, choice, times=2)
    assert twice.evidence == once.evidence
    assert bool((twice.picture == once.picture).all())


@pytest.mark.parametrize(("row", "pipeline", "choice"), cases(available=False), ids=row_name)
def test_an_unavailable_choice_that_is_set_anyway_is_noticed(
    row: Row, pipeline: str, choice: str
) -> None:
    try:
        made = make(pipeline, row.workload, row.lever, choice)
    except (
        *(AssertionError, AttributeError, ImportError, NotImplementedError),
        *(RuntimeError, ValueError),
    ):
        return  # whoever is asked for it says no
    assert not made.evidence.engaged, made.evidence.detail


def test_an_attention_backend_that_a_unet_ignores_is_not_engaged() -> None:
    row = next(row for row in ROWS if row.lever == "attention")
    made = make("sd15", row.workload, "attention", "native-flash")
    assert made.evidence == Evidence(
        engaged=False, detail="processors use: torch (they take no backend)"
    )


planning = pytest.mark.parametrize(
    "name", [name for name, lever in load_levers().items() if hasattr(lever, "plan")]
)


def plans_of(pipeline: str) -> list[Plan]:
    """The tiny pipeline as it starts, and as other levers may have left it."""
    model = tiny_model(pipeline)
    elsewhere = {"dtype": "bf16", "text-encoders": "host", "offload": "model", "batch": "x2"}
    return [plan_of(model, CARD, choices) for choices in ({}, elsewhere)]


@planning
@pytest.mark.parametrize("pipeline", TINY)
def test_a_plan_is_made_of_nothing_but_the_plan_before_and_the_choice(
    name: str, pipeline: str
) -> None:
    lever: Any = load_levers()[name]
    for before, as_it_was in zip(plans_of(pipeline), plans_of(pipeline), strict=True):
        # Also of choices that are not available here: recipes come from elsewhere.
        for choice in lever.choices(CARD, None):
            found = lever.plan(before, choice.id)
            assert isinstance(found, Plan)
            assert found == lever.plan(before, choice.id)
            assert before == as_it_was
            assert found.parts.keys() == before.parts.keys()
            assert (found.model, found.device) == (before.model, before.device)


@planning
@pytest.mark.parametrize("pipeline", TINY)
def test_a_baseline_plans_nothing_unless_it_is_a_format(name: str, pipeline: str) -> None:
    lever: Any = load_levers()[name]
    start = plans_of(pipeline)[0]
    view = Structure(tiny_model(pipeline), tiny_model(pipeline).workload)
    (baseline,) = (one.id for one in lever.choices(CARD, view) if one.baseline)
    found = lever.plan(start, baseline)
    assert found == (start.with_parts(start.parts, dtype=baseline) if name == "dtype" else start)


@pytest.mark.parametrize("device", ["card", "cpu"])
@pytest.mark.parametrize("pipeline", TINY)
def test_the_plan_of_all_baselines_is_the_model_as_it_is(pipeline: str, device: str) -> None:
    model, on = tiny_model(pipeline), CARD if device == "card" else CPU
    view = Structure(model, model.workload)
    baselines = {
        name: one.id
        for name, lever in load_levers().items()
        for one in lever.choices(on, view)
        if one.baseline
    }
    assert plan_of(model, on, baselines) == plan_of(model, on, {})


@pytest.mark.parametrize("name", load_levers())
def test_a_lever_is_named_in_its_docstring_and_imports_no_sibling_and_nothing_heavy(
    name: str,
) -> None:
    module: Any = load_levers()[name]
    assert name in (module.__doc__ or "").splitlines()[0]
    tree = ast.parse(inspect.getsource(module))
    everywhere = {target for node in ast.walk(tree) for target in _imported(node)}
    siblings = {f"autotune.levers.{sibling}" for sibling in BUILT_IN} | {"autotune.levers"}
    assert not everywhere & siblings
    on_top = {target.split(".")[0] for node in tree.body for target in _imported(node)}
    assert not on_top & {"torch", "diffusers", "transformers"}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
    return [one.name for one in node.names] if isinstance(node, ast.Import) else []
