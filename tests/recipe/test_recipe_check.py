"""How far a recipe's numbers reach on another machine."""

from __future__ import annotations

from autotune.probe.fingerprint import fingerprint
from autotune.recipe.check import Check, check_recipe
from autotune.recipe.schema import Budget, Recipe
from autotune.records import Device, Host, Machine
from autotune.units import GIB, MIB
from tests.recipe.factory import make_recipe

DEVICE = Device(
    kind="cuda", uuid="GPU-0", name="A Card", total_bytes=24 * GIB, free_bytes=23 * GIB
)
HOST = Host(
    os="Linux",
    arch="x86_64",
    cpu_name="A CPU",
    logical_cores=2,
    usable_cores=2,
    ram_total_bytes=8 * GIB,
    ram_available_bytes=6 * GIB,
    ram_limit_bytes=None,
    swap_total_bytes=0,
    disk_free_bytes=None,
    load_1m=None,
)
CPU = Device(kind="cpu", uuid="cpu", name="A CPU", total_bytes=8 * GIB, free_bytes=6 * GIB)
MACHINE = Machine(
    host=HOST, devices=(DEVICE, CPU), software={"torch": "2.13.0", "diffusers": "0.42.1"}
)


def recipe_of(machine: Machine = MACHINE, **changes: object) -> Recipe:
    recipe = make_recipe(fingerprint=fingerprint(machine, machine.devices[0]), **changes)
    real = recipe.model.but(weights="real")
    budget = recipe.budget.but(emulated=False)
    return recipe.but(**{"model": real, "budget": budget, **changes})


def check(recipe: Recipe, machine: Machine = MACHINE, **device_changes: object) -> Check:
    device = machine.devices[0].but(**device_changes)
    return check_recipe(recipe, machine, device, fingerprint(machine, device))


def test_the_machine_that_measured_matches_exactly() -> None:
    assert check(recipe_of()) == Check(match="exact", differences=(), problems=(), notes=())


def test_another_driver_is_near() -> None:
    found = check(recipe_of(), driver="999.1")
    assert found.match == "near"
    assert [one.field for one in found.differences] == ["device.driver"]


def test_another_card_is_far() -> None:
    assert check(recipe_of(), name="B Card").match == "far"


def test_a_peak_above_the_device_is_far_and_says_both_sizes() -> None:
    found = check(recipe_of(), total_bytes=200 * MIB, free_bytes=200 * MIB)
    assert found.match == "far"
    assert "the recipe needs 286 MiB, and A Card has 200 MiB" in found.problems


def test_a_budget_above_the_device_is_far() -> None:
    budget = Budget(asked="30GB", bytes=30_000_000_000, emulated=False)
    found = check(recipe_of(budget=budget))
    assert found.match == "far"
    assert found.problems == ("the recipe was allowed 27.94 GiB, and A Card has 24.00 GiB",)


def test_a_device_that_is_full_now_is_near() -> None:
    found = check(recipe_of(), free_bytes=100 * MIB)
    assert found.match == "near"
    assert found.problems == ("the recipe needs 286 MiB, and only 100 MiB are free now",)


def beside(host_bytes: int) -> Recipe:
    recipe = recipe_of()
    winner = recipe.evidence.winner.but(host_bytes=host_bytes)
    return recipe.but(evidence=recipe.evidence.but(winner=winner))


def test_weights_that_wait_on_the_host_must_fit_there() -> None:
    assert check(beside(4 * GIB)).problems == ()
    full = check(beside(7 * GIB))
    assert full.match == "near"
    assert full.problems == (
        "beside the device the recipe needs 7.00 GiB of host memory, and only 6.00 GiB are "
        "available now",
    )
    small = check(beside(9 * GIB))
    assert small.match == "far"
    assert small.problems == (
        "beside the device the recipe needs 9.00 GiB of host memory, and there are 8.00 GiB",
    )
    limited = CPU.but(total_bytes=4 * GIB, free_bytes=4 * GIB)  # as the probe has a container
    contained = MACHINE.but(devices=(DEVICE, limited))
    assert "and there are 4.00 GiB" in check(beside(5 * GIB), contained).problems[0]


def test_missing_software_is_named_with_its_version() -> None:
    measured = MACHINE.but(software={**MACHINE.software, "xformers": "0.0.35"})
    found = check(recipe_of(measured))
    assert found.match == "near"
    assert "xformers 0.0.35 was installed where it was measured" in found.problems[0]


def test_what_a_recipe_never_promised_is_noted_and_changes_no_match() -> None:
    recipe = make_recipe(fingerprint=recipe_of().fingerprint, status="provisional", modified=True)
    found = check(recipe)
    assert found.match == "exact"
    assert [note.split()[0] for note in found.notes] == [
        "measured",
        "the",
        "provisional:",
        "changed",
    ]
