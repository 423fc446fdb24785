"""What published models are made of, counted on the real classes without a byte of weights."""

from __future__ import annotations

import pytest

from autotune.models.catalog import find, load_catalog
from autotune.models.published import (
    components,
    entries_with_parts,
    parts_of,
    tiny_settings,
    weight_bytes,
)
from autotune.models.skeleton.build import structure_of

pytestmark = pytest.mark.trials


COMPONENTS = components()


def test_every_published_model_of_the_catalogue_says_what_it_is_made_of() -> None:
    assert [one.name for one in load_catalog().entries if one.hub and not one.parts] == []
    assert len({one.family for one in entries_with_parts()}) >= 16


def test_every_component_belongs_to_a_model_and_every_tiny_setting_to_a_component() -> None:
    used = {name for entry in entries_with_parts() for name in entry.parts.values()}
    assert used == set(COMPONENTS)
    classes = {row["class"] for row in COMPONENTS.values()}
    assert set(tiny_settings()) <= used | classes


@pytest.mark.parametrize("name", sorted(n for n, row in COMPONENTS.items() if "parameters" in row))
def test_parameters_are_as_many_as_published(name: str) -> None:
    entry = next(one for one in entries_with_parts() if name in one.parts.values())
    part = next(part for one, part in parts_of(entry).items() if entry.parts[one] == name)
    count = sum(one.numel() for one in structure_of(part).parameters())
    assert count == pytest.approx(part.parameters, rel=0.005)


@pytest.mark.parametrize(
    ("model", "gb"), [("flux", 33.74), ("qwen-image", 57.7), ("wan2.2", 68.7), ("flux2", 112.6)]
)
def test_the_weights_of_whole_models_take_what_is_known(model: str, gb: float) -> None:
    entry = find(model)
    assert entry is not None
    assert weight_bytes(entry) / 1e9 == pytest.approx(gb, rel=0.005)


def test_a_tiny_model_has_the_same_classes_and_settings_of_both() -> None:
    entry = find("flux2")
    assert entry is not None
    whole, tiny = parts_of(entry), parts_of(entry, tiny=True)
    assert {name: part.class_name for name, part in whole.items()} == {
        name: part.class_name for name, part in tiny.items()
    }
    text = tiny["text_encoder"].config["text_config"]
    assert text["hidden_size"] == 64
    assert text["model_type"] == "mistral", "what tiny does not say stays"
