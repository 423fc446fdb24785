"""The one table of choices that exclude each other, and how its rows are read."""

from __future__ import annotations

import fnmatch
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from autotune.levers import load_levers
from autotune.levers.rule import Rule, RuleTable
from autotune.levers.rules import RULES, broken_rule
from autotune.models.catalog import load_catalog
from autotune.records import Candidate, Device, DeviceKind

CARD = Device(
    kind="cuda", uuid="u", name="n", total_bytes=1, free_bytes=1, compute_capability="9.0"
)
OFFERED = {
    name: {choice.id for choice in lever.choices(CARD, None)}
    for name, lever in load_levers().items()
}
NEW = {"diffusers": "0.42.1"}


def forbidden(
    candidate: Candidate,
    device: DeviceKind = "cuda",
    family: str | None = None,
    software: dict[str, str] = NEW,
) -> str | None:
    rule = broken_rule(candidate, device=device, family=family, software=software)
    return rule.id if rule else None


def test_no_two_rules_have_one_id() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_why_and_where_it_was_seen(rule: Rule) -> None:
    assert rule.id == rule.id.lower()
    assert len(rule.reason.split()) > 4
    assert rule.reason == rule.reason.strip().rstrip(".")
    assert rule.cite


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_names_only_what_exists(rule: Rule) -> None:
    assert rule.choices
    for lever, pattern in rule.choices.items():
        for id in pattern.ids:
            assert fnmatch.filter(OFFERED[lever], id), f"{rule.id}: {lever} has no choice {id}"
    assert rule.families <= {entry.family for entry in load_catalog().entries}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_has_a_version_range_exactly_if_it_names_a_package(rule: Rule) -> None:
    assert (rule.package is None) is (rule.versions == "")
    SpecifierSet(rule.versions)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_holds_in_whatever_order_the_choices_come(rule: Rule) -> None:
    device: DeviceKind = next(iter(rule.devices), "cuda")
    family = next(iter(rule.families), None)
    one_each = {
        lever: next(id for id in sorted(OFFERED[lever]) if pattern.matches(id))
        for lever, pattern in rule.choices.items()
    }
    for order in permutations(one_each.items()):
        assert rule.forbids(dict(order), device=device, family=family, software={})
    for lever in one_each:
        rest = {name: id for name, id in one_each.items() if name != lever}
        assert not rule.forbids(rest, device=device, family=family, software={})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_no_rule_forbids_a_baseline(rule: Rule) -> None:
    baseline = {
        lever.name: choice.id
        for lever in load_levers().values()
        for choice in lever.choices(CARD, None)
        if choice.baseline
    }
    device: DeviceKind = next(iter(rule.devices), "cuda")
    family = next(iter(rule.families), None)
    assert not rule.forbids(baseline, device=device, family=family, software={})


def test_flux_overflows_in_fp16_and_other_families_do_not() -> None:
    assert forbidden({"dtype": "fp16"}, family="flux") == "flux-fp16"
    assert forbidden({"dtype": "fp16", "attention": "native"}, "cpu", "flux") == "flux-fp16"
    assert forbidden({"dtype": "bf16"}, family="flux") is None
    assert forbidden({"dtype": "fp16"}, family="sdxl") is None
    assert forbidden({"dtype": "fp16"}, family=None) is None


@pytest.mark.parametrize("kernel", ["native-flash", "native-cudnn"])
def test_kernels_that_need_half_precision_do_so_on_gpus_only(kernel: str) -> None:
    candidate = {"dtype": "fp32", "attention": kernel}
    assert forbidden(candidate, "cuda") == "gpu-kernels-need-half"
    assert forbidden(candidate, "rocm") == "gpu-kernels-need-half"
    assert forbidden(candidate, "cpu") is None
    assert forbidden(candidate | {"dtype": "bf16"}, "cuda") is None


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        ("0.35.2", None),
        ("0.36.0", "slicing-replaces-attention"),
        ("0.42.1", "slicing-replaces-attention"),
        ("0.43.0.dev0", "slicing-replaces-attention"),
    ],
)
def test_a_rule_holds_in_its_version_range(version: str, rule: str | None) -> None:
    candidate = {"attention": "native-math", "attention-slicing": "auto"}
    assert forbidden(candidate, software={"diffusers": version}) == rule


def test_a_rule_holds_where_the_version_is_unknown() -> None:
    candidate = {"attention": "native-math", "attention-slicing": "max"}
    assert forbidden(candidate, software={}) == "slicing-replaces-attention"


def test_a_candidate_that_no_row_forbids_is_allowed() -> None:
    assert forbidden({}) is None
    assert forbidden({"attention": "native", "attention-slicing": "auto"}) is None
    assert forbidden({"an-unknown-lever": "on"}) is None


@given(st.data())
def test_a_table_of_rules_finds_the_first_that_each_rule_alone_would(data: st.DataObject) -> None:
    candidate = {
        lever: data.draw(st.sampled_from(sorted(ids)), label=lever)
        for lever, ids in OFFERED.items()
        if data.draw(st.booleans())
    }
    expected = next((rule for rule in RULES if rule.matches(candidate)), None)
    assert RuleTable(RULES).broken(candidate) is expected
