"""How far apart two machines are."""

from __future__ import annotations

import pytest

from autotune.probe.fingerprint import Value, compare, fingerprint
from autotune.records import Fingerprint
from tests.probe.machines import CPU, GIB, cuda, machine

CARD = cuda()
ON_CUDA = fingerprint(machine(CARD), CARD)
ON_CPU = fingerprint(machine(), CPU)


def changed(base: Fingerprint, field: str, value: Value) -> Fingerprint:
    if field == "protocol":
        return base.but(protocol=value)
    section, _, name = field.partition(".")
    return base.but(**{section: {**getattr(base, section), name: value}})


def test_equal_machines_do_not_differ() -> None:
    assert compare(ON_CUDA, ON_CUDA) == ()
    assert compare(ON_CUDA, Fingerprint.model_validate_json(ON_CUDA.model_dump_json())) == ()


def test_nothing_tells_one_owner_from_another() -> None:
    text = ON_CUDA.model_dump_json()
    assert CARD.uuid not in text
    assert "optuna" not in text
    assert ON_CUDA.host["ram_total_bytes"] == 64 * GIB
    twin = cuda("b")
    assert fingerprint(machine(twin), twin) == ON_CUDA


def test_the_features_of_the_processor_count_only_where_it_computes() -> None:
    assert ON_CPU.host["cpu_features"] == "avx2 avx512f avx512_bf16"
    assert "cpu_features" not in ON_CUDA.host


@pytest.mark.parametrize(
    ("base", "field", "value", "severity"),
    [
        (ON_CUDA, "protocol", 99, "far"),
        (ON_CUDA, "device.kind", "rocm", "far"),
        (ON_CUDA, "device.name", "NVIDIA L4", "far"),
        (ON_CUDA, "device.compute_capability", "8.9", "far"),
        (ON_CUDA, "device.compute_capability", None, "near"),
        (ON_CUDA, "device.total_bytes", 136 * GIB, "far"),
        (ON_CUDA, "device.total_bytes", 138 * GIB, "near"),
        (ON_CUDA, "device.total_bytes", 150 * GIB, "near"),
        (ON_CUDA, "device.total_bytes", 141 * GIB + 1, None),
        (ON_CUDA, "device.driver", "590.1", "near"),
        (ON_CUDA, "device.power_limit_w", 350.0, "near"),
        (ON_CUDA, "device.ecc", False, "near"),
        (ON_CUDA, "device.mig", True, "near"),
        (ON_CUDA, "device.pcie_width", 4, "near"),
        (ON_CUDA, "software.torch", "2.13.1+cu130", "near"),
        (ON_CUDA, "software.torch", "2.13.0+cu126", "near"),
        (ON_CUDA, "software.torch", "2.14.0+cu130", "far"),
        (ON_CUDA, "software.torch", "3.13.0", "far"),
        (ON_CUDA, "software.torch", "nightly", "far"),
        (ON_CUDA, "software.diffusers", "0.43.0", "far"),
        (ON_CUDA, "software.diffusers", "0.42.9", "near"),
        (ON_CUDA, "software.xformers", "0.0.35", "near"),
        (ON_CUDA, "host.cpu_name", "Ryzen", "near"),
        (ON_CUDA, "host.usable_cores", 4, "near"),
        (ON_CPU, "device.name", "Ryzen", "far"),
        (ON_CPU, "host.usable_cores", 4, "far"),
        (ON_CPU, "host.usable_cores", 12, "near"),
        (ON_CPU, "host.cpu_name", "Ryzen", None),
        (ON_CPU, "host.cpu_features", "avx2 avx512f", "far"),
        (ON_CPU, "host.cpu_features", "avx2 avx512f avx512_bf16 amx_bf16", "near"),
        (ON_CPU, "host.ram_total_bytes", 32 * GIB, "near"),
        (ON_CUDA, "device.total_bytes", "much", "far"),
    ],
)
def test_a_difference_is_far_when_the_numbers_say_nothing_here(
    base: Fingerprint, field: str, value: Value, severity: str | None
) -> None:
    found = [
        (difference.field, difference.recorded, difference.here, difference.severity)
        for difference in compare(base, changed(base, field, value))
    ]
    section, _, name = field.partition(".")
    before = base.protocol if field == "protocol" else getattr(base, section).get(name)
    assert found == ([] if severity is None else [(field, before, value, severity)])


def test_far_differences_come_first() -> None:
    here = changed(changed(ON_CUDA, "device.driver", "1"), "software.torch", "2.12.0")
    assert [found.severity for found in compare(ON_CUDA, here)] == ["far", "near"]
