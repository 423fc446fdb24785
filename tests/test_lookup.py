"""`autotune.find_recipe`: what a name means to a book, and what is answered, or why nothing is."""

from __future__ import annotations

from pathlib import Path

import pytest

import autotune
from autotune.errors import BadInput, NoResult
from autotune.fleet.book import Book, open_book
from autotune.lookup import make_wanted, names_of
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.schema import RecipeModel
from autotune.records import Fidelity, Fingerprint
from tests.fleet.shelves import FLUX, recipe

MB = 1_000_000
DEMO = RecipeModel(
    id="demo", revision="1", source="demo", pipeline="FluxPipeline", weights="random"
)


@pytest.fixture(scope="module")
def here() -> Fingerprint:
    machine = probe_machine()
    return fingerprint(machine, select_device(machine, "cpu"))


@pytest.fixture
def book(tmp_path: Path, here: Fingerprint) -> Book:
    book = open_book(tmp_path / "book")
    usual = {"model": DEMO, "size": 256, "steps": 2, "budget": 900 * MB}
    renamed = here.but(device={**here.device, "name": "Another CPU"})
    book.add(
        [
            recipe(seconds=2, peak=300 * MB, on=here, **usual),
            recipe(seconds=1, peak=500 * MB, on=here, **usual),
            recipe(seconds=0.5, peak=200 * MB, on=renamed, **usual),
        ]
    )
    return book


def test_the_fastest_that_fits_here_is_answered(book: Book) -> None:
    def found(vram: str, **more: object) -> float:
        got = autotune.find_recipe(
            "demo",
            vram=vram,
            device="cpu",
            book=book.store.place,
            **more,  # type: ignore[arg-type]
        )
        assert isinstance(got, autotune.Recipe)
        return round(got.evidence.winner.latency_s, 1)

    assert found("900MB") == 1.0
    assert found("400MB") == 2.0
    assert found("250MB", match="neighbour") == 0.5
    assert found("900MB", match="exact") == 1.0
    # Another workload is answered with where there is none for this.
    assert found("900MB", workload={"steps": 50}) == 1.0


def test_a_neighbour_is_only_answered_to_who_asks_for_one(book: Book) -> None:
    with pytest.raises(NoResult, match="the nearest of 1 is only a neighbour") as caught:
        autotune.find_recipe("demo", vram="250MB", device="cpu", book=book.store.place)
    assert caught.value.hint == (
        "autotune suggest --model demo --vram 250MB --add-to-book measures one"
    )


def test_why_nothing_is_answered_is_said_with_what_came_near(book: Book) -> None:
    with pytest.raises(NoResult, match=r"of 3 of this model 3 need more memory") as caught:
        autotune.find_recipe("demo", vram="100MB", device="cpu", book=book.store.place)
    assert "the leanest takes 191 MiB" in caught.value.message
    with pytest.raises(NoResult, match="it has none of this model"):
        autotune.find_recipe("sdxl", vram="900MB", device="cpu", book=book.store.place)


def test_a_name_that_is_none_is_told_apart_from_a_model_that_is_not_there(book: Book) -> None:
    with pytest.raises(BadInput, match="there is no model 'flx'") as caught:
        autotune.find_recipe("flx", vram="900MB", device="cpu", book=book.store.place)
    assert "flux" in str(caught.value.hint)
    with pytest.raises(BadInput, match="is not a model"):
        autotune.find_recipe("a b c", vram="900MB", device="cpu", book=book.store.place)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vram": "12"}, "has no unit"),
        ({"device": "cuda:77"}, "there is no device"),
        ({"quality": "good"}, "there is no quality"),
        ({"objective": "fast"}, "objective"),
        ({"workload": {"seed": 3}}, "has no 'seed' to be looked up by"),
        ({"match": "far"}, "there is no match 'far'"),
        ({"model": "org/name@main"}, "recipes know commits, not 'main'"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    book: Book, wrong: dict[str, object], message: str
) -> None:
    usual: dict[str, object] = {"model": "demo", "device": "cpu", "book": book.store.place}
    with pytest.raises(BadInput, match=message) as caught:
        autotune.find_recipe(**{**usual, **wrong})  # type: ignore[arg-type]
    assert caught.value.hint


def test_a_name_of_the_catalogue_means_the_hub_id_and_random_weights_of_its_size() -> None:
    named = names_of("flux")
    assert named.models == {FLUX.casefold()}
    assert named.skeletons == {"flux"}
    assert (named.sizes["width"], named.sizes["steps"]) == (1024, 28)


def test_a_hub_id_a_revision_and_a_folder_mean_what_recipes_call_them(tmp_path: Path) -> None:
    assert names_of("org/Name@0123abc").models == {"org/name"}
    assert names_of("org/Name@0123abc").revision == "0123abc"
    (tmp_path / "My Model").mkdir()
    assert names_of(str(tmp_path / "My Model")).models == {"my-model"}
    # A folder of another machine, by the name that its recipe has.
    assert names_of("my-finetune").models == {"my-finetune"}
    assert names_of("demo").skeletons == frozenset()


def test_the_default_workload_is_the_models_and_what_is_asked_wins() -> None:
    def sizes(model: str, **workload: int) -> tuple[int | None, ...]:
        return make_wanted(model, vram="900MB", device="cpu", workload=workload).sizes

    assert sizes("flux") == (1024, 1024, 0, 28, 1)
    assert sizes("flux", steps=4, height=512) == (1024, 512, 0, 4, 1)
    # What an unknown model generates by default is not known without it.
    assert sizes("org/name", steps=4) == (None, None, None, 4, None)


def test_without_a_budget_what_is_free_is_the_budget() -> None:
    wanted = make_wanted("demo", vram=None, device="cpu", workload={})
    assert 0 < wanted.budget_bytes < wanted.device.free_bytes
    assert wanted.quality is Fidelity.BALANCED
    assert wanted.host_bytes is None, "on a CPU the device is the host"
