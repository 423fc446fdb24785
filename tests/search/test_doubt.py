"""A measurement that cannot be true is marked as wrong: it is no result, however good it looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.profile import bare_profile
from autotune.records import Component, Memory, Model, Outcome
from autotune.search import study
from autotune.search.doubt import make_doubt
from autotune.status import Status
from tests.estimate.published import flux
from tests.search import studies
from tests.search.factory import make_device, make_model

PROFILE = flux()
PARTS = {"transformer": 23_800, "text_encoder_2": 9_520, "vae": 168}
MODEL: Model = make_model(
    components=tuple(
        Component(
            name=name,
            library="diffusers",
            class_name=name,
            weight_bytes=megabytes * 10**6,
            parameters=megabytes * 10**6 // 2,
            dtype="bf16",
        )
        for name, megabytes in PARTS.items()
    )
)
CARD = device_of(find_card("RTX 4090"))
GB = 10**9


def outcome(latency_s: float, peak_bytes: int) -> Outcome:
    memory = Memory(level_bytes=0, peak_bytes=peak_bytes, phases={}, how="by hand")
    return Outcome(
        trial="1",
        status=Status.MEASURED,
        stage="done",
        samples_s=(latency_s, latency_s, latency_s),
        memory=memory,
    )


def test_an_image_faster_than_the_card_computes_is_doubted_with_both_times() -> None:
    # numbers.md H1: Flux in 6.2 s on a 4090, whose floor is more than 12 s.
    problem = make_doubt(MODEL, CARD, PROFILE)({}, outcome(6.2, 40 * GB))
    assert problem is not None
    assert problem.startswith("faster than the card can compute: 6.20 s, the floor is 1")


def test_less_memory_than_the_weights_that_must_be_there_is_doubted() -> None:
    # numbers.md H1 again: 22 GB, where the transformer alone has 23.8.
    problem = make_doubt(MODEL, CARD, PROFILE)({}, outcome(20.0, 22 * GB))
    assert problem is not None
    assert problem.startswith("less memory than the weights that must lie on the device: 22 GB")


@pytest.mark.parametrize(
    ("choices", "latency_s", "peak_bytes"),
    [
        ({}, 20.0, 40 * GB),
        ({"offload": "staged"}, 20.0, 25 * GB),
        ({"offload": "group-leaf-stream"}, 25.0, 2 * GB),
        ({"quantize-denoiser": "torchao-fp8dq"}, 9.67, 30 * GB),
        ({"cache": "first-block-12"}, 6.0, 40 * GB),
        ({"dtype": "fp32"}, 20.0, 70 * GB),
    ],
)
def test_what_a_lever_makes_possible_is_not_doubted(
    choices: dict[str, str], latency_s: float, peak_bytes: int
) -> None:
    assert make_doubt(MODEL, CARD, PROFILE)(choices, outcome(latency_s, peak_bytes)) is None


def test_where_nothing_is_known_nothing_is_doubted() -> None:
    impossible = outcome(1e-6, 1)
    assert make_doubt(MODEL, make_device(), PROFILE)({}, impossible) is None
    assert make_doubt(MODEL, CARD, bare_profile(MODEL))({}, impossible) is None


def test_a_study_tries_a_doubtful_candidate_once_more_and_does_not_advise_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubts_fp16(candidate: dict[str, str], _: Outcome) -> str | None:
        return "cannot be" if candidate["dtype"] == "fp16" else None

    monkeypatch.setattr(study, "make_doubt", lambda *_: doubts_fp16)
    result, engine, _ = studies.study(tmp_path)
    assert result.recipe is not None
    assert result.recipe.choices["dtype"] != "fp16"
    doubted = [one for one in result.history.tried if one.candidate["dtype"] == "fp16"]
    assert {one.outcome.status for one in doubted} == {Status.IMPLAUSIBLE}
    alone = [spec for spec in engine.specs if spec.choices == studies.FP16]
    assert len(alone) == 2
