"""What libraries are told of a card while they are imported."""

from __future__ import annotations

import pytest

from autotune.records import Device
from autotune.trial.asleep import driver_asleep

CARD = Device(
    kind="cuda",
    uuid="GPU-1",
    name="NVIDIA H200",
    total_bytes=139 << 30,
    free_bytes=130 << 30,
    compute_capability="9.0",
)


def test_what_the_probe_knows_is_answered_without_the_driver() -> None:
    import torch

    true = torch.cuda.get_device_capability
    with driver_asleep(CARD) as found:
        assert torch.cuda.get_device_capability(torch.cuda.device(0)) == (9, 0)
        assert torch.cuda.get_device_properties(0).major == 9
        assert torch.cuda.get_device_name() == "NVIDIA H200"
        assert torch.cuda.current_device() == 0
    assert not found.asked
    assert torch.cuda.get_device_capability is true


def test_what_was_kept_meanwhile_asks_the_driver_afterwards() -> None:
    """As torch's compiler does, which keeps the functions and what they return."""
    import torch

    with driver_asleep(CARD):
        capability, properties = torch.cuda.get_device_capability, torch.cuda.get_device_properties
        kept = properties(0)
        assert kept.total_memory == CARD.total_bytes
    for ask in (capability, properties, lambda: kept.multi_processor_count):
        with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
            ask()


def test_a_property_that_only_the_driver_knows_is_told() -> None:
    import torch

    with driver_asleep(CARD) as found:
        assert not hasattr(torch.cuda.get_device_properties(0), "multi_processor_count")
    assert found.asked


def test_what_only_the_driver_knows_is_refused_and_told() -> None:
    import torch

    with (
        driver_asleep(CARD) as found,
        pytest.raises(RuntimeError, match="not started while libraries are imported"),
    ):
        torch.cuda.synchronize()
    assert found.asked


def test_a_card_of_unknown_capability_answers_nothing() -> None:
    import torch

    with (
        driver_asleep(CARD.but(compute_capability=None)) as found,
        pytest.raises(RuntimeError, match="not started"),
    ):
        torch.cuda.get_device_capability()
    assert found.asked
