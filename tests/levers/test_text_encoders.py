"""text-encoders: the same pictures with the encoders elsewhere, or gone."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.levers import text_encoders
from autotune.levers.mechanisms.encoders import Gone, Memo, OnHost
from autotune.levers.mechanisms.residency import group_hooks, offloaded
from autotune.levers.plan import Place
from autotune.records import Component
from autotune.trial import generate, output
from autotune.trial.run import run_trial
from tests.levers.built import built, card, observed, planned, proof, reasons
from tests.levers.views import view_of
from tests.trial.bench import SMALL, trial_spec

pytestmark = pytest.mark.trials

PROMPTS = ("a red circle", "blue sky over green grass", "three words only")
GUIDED = SMALL.but(prompts=PROMPTS, guidance=3.0)


def pictures(target: Any, count: int = 4) -> list[Any]:
    call = generate.caller(target.pipe, target.workload, 2)
    return [output.picture_of(call(number)) for number in range(count)]


def encoders_of(target: Any) -> list[Any]:
    return [getattr(target.pipe, name) for name in target.model.text_encoders]


@pytest.mark.parametrize("pipeline", ["flux", "sd15", "sdxl", "sd3", "wan"])
def test_precomputed_prompts_make_the_same_picture_without_encoders(pipeline: str) -> None:
    plain = pictures(built(pipeline, GUIDED))
    target = built(pipeline, GUIDED, text_encoders="precomputed")
    refs = [weakref.ref(one.encoder) for one in encoders_of(target)]
    assert len(refs) == len(target.model.text_encoders) > 0
    first = pictures(target, 1)
    gc.collect()
    assert [ref() for ref in refs] == [None] * len(refs)
    assert proof(target, "text-encoders", "precomputed").engaged
    for mine, theirs in zip([*first, *pictures(target)[1:]], plain, strict=True):
        assert bool((mine == theirs).all())


def test_negative_prompts_are_encoded_along() -> None:
    def call(target: Any, prompt: str, negative: str) -> Any:
        import torch

        generator = torch.Generator("cpu").manual_seed(0)
        return target.pipe(
            prompt,
            negative_prompt=negative,
            guidance_scale=4.0,
            height=64,
            width=64,
            num_inference_steps=2,
            output_type="pt",
            generator=generator,
        ).images

    plain, target = built("sd15", GUIDED), built("sd15", GUIDED, text_encoders="precomputed")
    for prompt in PROMPTS:
        wanted, got = call(plain, prompt, "bad"), call(target, prompt, "bad")
        assert bool((wanted == got).all())
    assert all(isinstance(one, Gone) for one in encoders_of(target))
    with pytest.raises(BadInput, match="was not precomputed with these arguments"):
        call(target, PROMPTS[0], "ugly")


def test_a_prompt_that_was_not_precomputed_is_refused_with_those_that_were() -> None:
    target = built("flux", GUIDED, text_encoders="precomputed")
    observed(target)
    with pytest.raises(BadInput) as caught:
        target.pipe("a dog", height=64, width=64, num_inference_steps=1)
    assert caught.value.message == (
        "the prompt 'a dog' was not precomputed; known are 'a red circle', "
        "'blue sky over green grass', 'three words only'"
    )
    assert "text-encoders=device" in str(caught.value.hint)


def test_embeddings_can_be_given_once_the_encoders_are_gone() -> None:
    import torch

    target = built("flux", GUIDED, text_encoders="precomputed")
    call = generate.caller(target.pipe, target.workload)
    wanted = output.picture_of(call(0))
    with torch.no_grad():
        said = target.pipe.encode_prompt(
            prompt=PROMPTS[0],
            prompt_2=None,
            prompt_embeds=None,
            pooled_prompt_embeds=None,
            device=torch.device("cpu"),
            num_images_per_prompt=1,
            max_sequence_length=32,
            lora_scale=None,
        )
    got = target.pipe(
        prompt_embeds=said[0],
        pooled_prompt_embeds=said[1],
        height=64,
        width=64,
        num_inference_steps=2,
        guidance_scale=3.0,
        output_type="pt",
        generator=torch.Generator("cpu").manual_seed(0),
    ).images
    assert bool((got == wanted).all())


class Pipe:
    """A pipeline that takes embeddings in a list, as Z-Image does."""

    text_encoder = None

    def encode_prompt(self, prompt: str | None, prompt_embeds: list[Any]) -> list[Any]:
        return prompt_embeds

    def maybe_free_model_hooks(self) -> None:
        pass


def test_embeddings_in_a_list_are_never_taken_for_others_that_print_alike() -> None:
    import torch

    memo = Memo(Pipe(), ("text_encoder",), PROMPTS)
    for number in (1.0, 2.0):
        embeddings = torch.zeros(5000)
        embeddings[2500] = number
        assert memo(None, [embeddings])[0][2500] == number
    assert memo.answered == 0


def test_an_answer_may_be_changed_by_the_pipeline_without_harm() -> None:
    target = built("sd15", GUIDED, text_encoders="precomputed")
    first = pictures(target, 1)[0]
    memo = target.pipe.encode_prompt
    encode = memo.__call__

    def spoiling(*args: Any, **kwargs: Any) -> Any:
        said = encode(*args, **kwargs)
        pictured = tuple(one.clone() if one is not None else None for one in said)
        for one in filter(lambda one: one is not None, said):
            one.zero_()
        return pictured

    target.pipe.encode_prompt = spoiling
    for _ in range(2):
        assert bool((pictures(target, 1)[0] == first).all())


def test_a_whole_trial_drops_the_encoders_and_says_so() -> None:
    import tempfile
    from pathlib import Path

    spec = trial_spec(model="flux", choices={"text-encoders": "precomputed", "offload": "none"})
    with tempfile.TemporaryDirectory() as folder:
        outcome = run_trial(spec, Path(folder))
    assert (outcome.status.value, outcome.message) == ("measured", "")
    assert outcome.engaged["text-encoders"].detail == (
        "2 encoders dropped, 1 prompts known, 3 calls answered"
    )
    assert "text_encoder" not in outcome.weights
    assert "transformer" in outcome.weights


# ------------------------------------------------------------------------------- on the host


@pytest.mark.parametrize("choice", ["none", "model", "group-leaf", "partial-50", "staged"])
def test_no_placement_finds_an_encoder_that_stays_on_the_host(choice: str) -> None:
    plain = pictures(built("sdxl", GUIDED), 1)[0]
    target = built("sdxl", GUIDED, text_encoders="host", offload=choice)
    assert bool((pictures(target, 1)[0] == plain).all())
    for one in encoders_of(target):
        assert isinstance(one, OnHost)
        assert not hasattr(one.encoder, "_hf_hook")
        assert not group_hooks(one.encoder)
    assert "unet" in offloaded(target.pipe) or choice == "none"
    assert proof(target, "offload", choice).engaged
    assert proof(target, "text-encoders", "host").engaged


def test_what_an_encoder_on_the_host_says_goes_to_the_device() -> None:
    import torch

    target = built("sd15")
    encoder = OnHost(target.pipe.text_encoder, "meta")
    said = encoder(torch.ones(1, 4, dtype=torch.long), output_hidden_states=True)
    assert said.last_hidden_state.device.type == "meta"
    assert {one.device.type for one in said.hidden_states} == {"meta"}
    assert encoder.config is target.pipe.text_encoder.config
    assert encoder.dtype is torch.float32


def test_an_encoder_that_left_the_host_is_not_engaged() -> None:
    target = built("sd15", text_encoders="host")
    assert proof(target, "text-encoders", "host").engaged
    target.pipe.text_encoder.encoder.to("meta")
    assert not proof(target, "text-encoders", "host").engaged


def test_encoders_on_the_host_that_nobody_called_are_not_engaged() -> None:
    target = built("sd15", text_encoders="host")
    observed(target, text_encoders="host")
    assert proof(target, "text-encoders", "host").engaged
    assert "called 2 times" in proof(target, "text-encoders", "host").detail
    target.seen = {name: one for name, one in target.seen.items() if "encoder" not in name}
    assert not proof(target, "text-encoders", "host").engaged


# ----------------------------------------------------------------------------- back and forth


def test_each_choice_is_proof_of_itself_only() -> None:
    for choice in ("device", "host", "precomputed"):
        target = built("sd15", text_encoders=choice)
        observed(target, text_encoders=choice)
        ids = [one.id for one in text_encoders.choices(card(), None)]
        assert [id for id in ids if proof(target, "text-encoders", id).engaged] == [choice]


def test_encoders_come_back_as_long_as_they_were_not_dropped() -> None:
    target = built("sd15", GUIDED)
    encoder, config = target.pipe.text_encoder, dict(target.pipe.config)
    for choice in ("host", "precomputed", "host", "precomputed", "device"):
        text_encoders.apply(target, choice)
    assert target.pipe.text_encoder is encoder
    assert "encode_prompt" not in vars(target.pipe)
    assert "maybe_free_model_hooks" not in vars(target.pipe)
    assert dict(target.pipe.config) == config
    assert proof(target, "text-encoders", "device").engaged
    text_encoders.apply(target, "precomputed")
    observed(target)
    for choice in ("device", "host"):
        with pytest.raises(BadInput, match="were dropped once the prompts were encoded"):
            text_encoders.apply(target, choice)


def test_encoders_that_are_to_be_dropped_are_not_held_by_who_watches() -> None:
    target = built("flux")
    watched = text_encoders.watched(target, "device")
    assert set(watched) == {"text-encoders.text_encoder", "text-encoders.text_encoder_2"}
    assert text_encoders.watched(target, "host") == watched
    assert text_encoders.watched(target, "precomputed") == {}


def test_a_pipeline_without_encoders_is_not_one_with_them_on_the_device() -> None:
    target = built("sd15", text_encoders="precomputed")
    observed(target)
    del target.pipe.encode_prompt
    assert not proof(target, "text-encoders", "device").engaged


def test_precomputed_is_not_engaged_where_the_encoders_are_still_used() -> None:
    target = built("sd15", GUIDED, text_encoders="precomputed")
    assert not proof(target, "text-encoders", "precomputed").engaged
    encoder = target.pipe.text_encoder
    observed(target)
    assert proof(target, "text-encoders", "precomputed").engaged
    vars(target.pipe)["text_encoder"] = encoder
    assert not proof(target, "text-encoders", "precomputed").engaged


# ------------------------------------------------------------------------------- what exists


def test_refusals_name_the_device_and_the_pipeline() -> None:
    assert reasons("text-encoders", card(kind="cpu"), view_of("flux"))["host"] == (
        "the device is the host: encoders run there anyway"
    )
    found = reasons("text-encoders", card(), view_of("sd15", pipeline="AmusedPipeline"))
    assert found["precomputed"] == (
        "AmusedPipeline encodes prompts in no step of its own (it has no encode_prompt)"
    )
    assert found["host"] is None
    blind = (Component(name="unet", library="diffusers", class_name="UNet2DModel"),)
    found = reasons("text-encoders", card(), view_of("sd15", components=blind))
    assert set(found.values()) == {None, "the pipeline has no text encoder"}


def test_encoders_elsewhere_take_nothing_of_the_device() -> None:
    plain, encoders = planned("flux"), ("text_encoder", "text_encoder_2")
    assert planned("flux", text_encoders="device") == plain
    for choice, place in (("host", Place.HOST), ("precomputed", Place.GONE)):
        found = planned("flux", text_encoders=choice)
        assert found == plain.with_parts(encoders, place=place)
        assert {name for name, part in found.parts.items() if part.place is place} == {*encoders}


def test_only_what_encodes_at_first_takes_time_to_start() -> None:
    assert text_encoders.start_up_s("precomputed") > 0
    assert text_encoders.start_up_s("device") == text_encoders.start_up_s("host") == 0


def test_a_memo_takes_the_pipelines_own_arguments_however_they_are_given() -> None:
    import torch

    target = built("sd15", GUIDED)
    memo = Memo(target.pipe, target.model.text_encoders, PROMPTS)
    device = torch.device("cpu")
    by_position = memo(PROMPTS[0], device, 1, False)
    by_name = memo(
        prompt=PROMPTS[0],
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=False,
    )
    assert memo.answered == 1
    memo(PROMPTS[0], device, 1, False, negative_prompt=None)  # as it is if nothing is said
    assert memo.answered == 2
    assert bool((by_position[0] == by_name[0]).all())
    assert list(memo.known) == list(PROMPTS)
