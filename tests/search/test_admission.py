"""What is refused without a trial because it cannot fit: on the device, or on the host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from autotune.estimate.profile import bare_profile
from autotune.records import Component, Outcome, TrialSpec
from autotune.report.recipe import explanation
from autotune.search.admission import Admission
from autotune.search.definition import Definition
from autotune.units import format_bytes
from tests.search import studies
from tests.search.factory import make_choices, make_device, make_machine, make_model
from tests.search.table_engine import World

GIB = 1 << 30
#: By component, GiB in bf16.
SIZES = {"transformer": 24, "text_encoder": 1, "text_encoder_2": 9, "vae": 1}
MODEL = make_model(
    components=tuple(
        Component(
            name=name,
            library="diffusers",
            class_name=name,
            weight_bytes=size * GIB,
            parameters=size * GIB // 2,
            dtype="bf16",
        )
        for name, size in SIZES.items()
    )
)
LEVERS = {"dtype": ("bf16", "fp32"), "offload": ("none", "model", "staged", "group-leaf-stream")}


def admission(*, budget: int = 80, host: int | None = None, kind: Any = "cuda") -> Admission:
    return Admission(
        model=MODEL,
        device=make_device(kind=kind),
        budget_bytes=budget * GIB,
        software={},
        profile=bare_profile(MODEL),
        host_bytes=None if host is None else host * GIB,
    )


@pytest.mark.parametrize(
    ("choices", "device", "host"),
    [
        ({}, 35, 0),
        ({"offload": "none"}, 35, 0),
        ({"offload": "staged"}, 24, 0),
        ({"offload": "model"}, 24, 35),
        ({"offload": "model", "dtype": "fp32"}, 48, 70),
        ({"offload": "partial-50", "text-encoders": "host"}, 25, 10),
        # Until every prompt is known they are computed on the host.
        ({"offload": "staged", "text-encoders": "precomputed"}, 24, 10),
        ({"offload": "none", "text-encoders": "precomputed"}, 25, 10),
    ],
)
def test_weights_are_foreseen_where_every_lever_leaves_them(
    choices: dict[str, str], device: int, host: int
) -> None:
    found = admission().memory(choices)
    weights = max(
        sum(size for part, size in phase.bytes.items() if part in SIZES) for phase in found.phases
    )
    assert weights == device * GIB
    assert found.host_bytes == host * GIB


def test_the_estimate_has_what_a_card_adds_and_the_least_stays_below_it() -> None:
    found = admission().memory({})
    assert 35 * GIB < found.allocated_bytes + GIB // 2 < found.peak_bytes < 37.5 * GIB
    assert found.least_bytes < found.peak_bytes


def test_what_surely_does_not_fit_is_refused_with_its_numbers_and_what_binds() -> None:
    refusal = admission(budget=20).too_large({"offload": "none"})
    assert refusal is not None
    assert re.fullmatch(
        r"needs 3\d\.\d\d GiB at the least, 3\d\.\d\d GiB is foreseen: "
        r"transformer takes 24\.00 GiB while it has to load",
        refusal,
    )
    # Between the least and what is foreseen only a trial can tell.
    assert admission(budget=34).too_large({"offload": "none"}) is None


def test_weights_that_do_not_fit_on_the_host_are_refused_with_both_values() -> None:
    tight = admission(host=32)
    assert tight.too_large({"offload": "model"}) == (
        "the offloaded weights alone take 35.00 GiB of host memory, 32.00 GiB may be taken"
    )
    assert tight.too_large({"offload": "none"}) is None
    assert tight.too_large({"offload": "staged"}) is None
    assert admission(host=35).too_large({"offload": "model"}) is None
    assert admission(host=None).too_large({"offload": "model"}) is None


def test_the_device_is_looked_at_first() -> None:
    refusal = admission(budget=20, host=1).too_large({"offload": "model"})
    assert refusal is not None
    assert refusal.startswith("needs 2")


def test_where_the_device_is_the_host_there_is_one_budget() -> None:
    assert admission(host=1, kind="cpu").too_large({"offload": "model"}) is None


def test_a_host_holds_its_memory_and_swap_or_what_its_container_may() -> None:
    host = make_machine(make_device()).host
    assert host.most_bytes == 8 * GIB
    assert host.but(swap_total_bytes=2 * GIB).most_bytes == 10 * GIB
    assert host.but(swap_total_bytes=2 * GIB, ram_limit_bytes=GIB).most_bytes == GIB


@pytest.mark.parametrize(
    ("ram_gib", "tried"), [(60, {"none", "model", "staged"}), (None, {"none", "staged"})]
)
def test_a_study_tries_what_ram_allows_or_else_what_the_host_has(
    tmp_path: Path, ram_gib: int | None, tried: set[str]
) -> None:
    levers = {"offload": ("none", "model", "staged")}
    _, engine, _ = studies.study(
        tmp_path,
        World(effects={"offload=staged": (0.5, 1.0)}, noise=0.003),
        choices=make_choices(levers),
        definition=Definition(levers=dict.fromkeys(levers, "all")),
        device=make_device(kind="cuda"),
        model=MODEL,
        budget_bytes=80_000_000_000,
        ram_bytes=None if ram_gib is None else ram_gib * GIB,
    )
    assert {spec.choices["offload"] for spec in engine.specs} == tried


def test_what_the_winner_took_of_the_host_stands_in_the_recipe(tmp_path: Path) -> None:
    def answer(spec: TrialSpec) -> Outcome:
        found = studies.WORLD(spec)
        assert found.memory is not None
        taken = 5_000_000_000 + 1_000 * len(spec.trial)
        return found.but(memory=found.memory.but(host_bytes=taken))

    recipe = studies.study(tmp_path, answer)[0].recipe
    assert recipe is not None
    winner = recipe.evidence.winner
    assert winner.host_bytes is not None
    assert winner.host_bytes > 5_000_000_000
    lines = list(explanation(recipe, "my.json"))
    assert f"host:     peak {format_bytes(winner.host_bytes)} of its memory" in lines
    (tmp_path / "cpu").mkdir()
    unknown = studies.study(tmp_path / "cpu")[0].recipe
    assert unknown is not None
    assert unknown.evidence.winner.host_bytes is None
    assert not [line for line in explanation(unknown, "my.json") if line.startswith("host:")]
