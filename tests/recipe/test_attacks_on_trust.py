"""Attacks on what a recipe may choose and may hold: choices, trust, models, secrets (R4 to R6)."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from autotune.errors import BadRecipe, RecipeMismatch
from autotune.levers import offered_choices
from autotune.levers.mechanisms.attention_backends import ALLOW_HUB_KERNELS
from autotune.recipe.apply import check_offered
from autotune.recipe.check import check_choices
from autotune.recipe.read import parse_recipe
from autotune.recipe.write import render_recipe
from tests.cli.command import environment
from tests.recipe.factory import BASELINE, make_document, make_recipe, sign
from tests.search.factory import make_device


def test_r4_only_choices_of_this_installation_are_accepted() -> None:
    known = {
        "attention": ["native", "xformers"],
        "dtype": ["fp32", "bf16"],
        "vae_tiling": ["off", "on"],
    }
    check_choices(BASELINE, known)
    with pytest.raises(BadRecipe, match="'xformer' is not a choice") as caught:
        check_choices({"attention": "xformer"}, known)
    assert caught.value.hint == "did you mean 'xformers'?"
    with pytest.raises(BadRecipe, match="'atention' is not a lever") as caught:
        check_choices({"atention": "native"}, known)
    assert caught.value.hint == "did you mean 'attention'?"


@pytest.mark.parametrize("name", ["os", "evil_module", "torchvision", "autotune-levers-dtype"])
def test_r4_a_lever_is_never_looked_for_by_the_name_in_a_recipe(name: str) -> None:
    before = set(sys.modules)
    offered = offered_choices(make_device(), None)
    with pytest.raises(BadRecipe, match="is not a lever that is installed here"):
        check_offered(make_recipe().but(choices={name: "on"}), offered)
    assert name not in set(sys.modules) - before


def test_r5_kernels_of_the_hub_stay_off_until_the_machines_owner_allows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(ALLOW_HUB_KERNELS, raising=False)
    card = make_device(kind="cuda", uuid="GPU-1", compute_capability="9.0")
    offered = offered_choices(card, None)
    fetched = [one.id for one in offered["attention"] if one.id.endswith("-hub")]
    assert "flash-hub" in fetched
    for id in fetched:  # some are for other cards besides
        why = ALLOW_HUB_KERNELS if id == "flash-hub" else "cannot be set here"
        with pytest.raises(RecipeMismatch, match=why):
            check_offered(make_recipe().but(choices={"attention": id}), offered)


#: Looks for the model of a recipe, and prints what it was told and whatever it asked the network.
LOOKING = """
import sys
from autotune.errors import AutotuneError
from autotune.recipe.apply import model_of
from tests.recipe.factory import make_recipe

recipe = make_recipe()
away = recipe.model.but(source="hub", id="org/name", revision="0" * 40)
seen = []
sys.addaudithook(lambda event, _: event.startswith("socket.") and seen.append(event))
try:
    model_of(recipe.but(model=away), model=None, looked={})
except AutotuneError as error:
    print(type(error).__name__, error.message)
print(sorted(set(seen)))
"""


def test_r5_a_recipe_cannot_have_a_model_downloaded() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOOKING],
        env=environment(HF_HUB_OFFLINE="0"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, seen = ended.stdout.splitlines()
    assert said == f"ModelUnavailable org/name@{'0' * 40} may not be downloaded"
    assert seen == "[]"


@pytest.mark.parametrize(
    "place",
    ["", "model", "workload", "evidence", "evidence.winner", "budget", "fingerprint", "refused.0"],
)
@pytest.mark.parametrize(
    "key",
    [
        "trust_remote_code",
        "trust_remote_kernels",
        "use_safetensors",
        "custom_pipeline",
        "module",
        "class",
        "_target_",
        "__reduce__",
        "env",
        "command",
        "url",
        "folder",
        "path",
    ],
)
def test_r5_there_is_no_place_for_trust_or_code(place: str, key: str) -> None:
    document: Any = make_document()
    inner = document
    for part in place.split(".") if place else []:
        inner = inner[int(part) if part.isdigit() else part]
    inner[key] = True
    with pytest.raises(BadRecipe, match="unknown key"):
        parse_recipe(sign(document))


@pytest.mark.parametrize(
    "model",
    [
        "../x",
        "/etc/passwd",
        "~root/x",
        "https://host/x",
        "file:/x",
        "a/b/c",
        "a\\b",
        "",
        "a b/..",
        "a\n",
    ],
)
def test_r5_a_model_is_a_name_and_nothing_else(model: str) -> None:
    document: Any = make_document()
    document["model"]["id"] = model
    with pytest.raises(BadRecipe):
        parse_recipe(sign(document))


@pytest.mark.parametrize(
    "private", ["/home/ann/models/x", "hf_abcdefghijklmnopqrstuv", "C:\\Users\\ann"]
)
def test_r6_private_texts_are_neither_written_nor_read(private: str) -> None:
    recipe = make_recipe()
    fingerprint = recipe.fingerprint.but(software={"torch": private})
    refused = recipe.refused[0].but(reason=f"could not open {private}")
    data = render_recipe(recipe.but(fingerprint=fingerprint, refused=(refused,)))
    assert json.dumps(private)[1:-1].encode() not in data
    document: Any = make_document()
    document["evidence"]["comparison"]["why"] = f"because of {private}"
    with pytest.raises(BadRecipe, match=r"holds .* in evidence\.comparison\.why"):
        parse_recipe(sign(document))
