"""Models and candidates of published results, written by hand: the estimator is held to them.

FLOPs are those of numbers.md G1; bytes and operations were counted on meta tensors with diffusers
0.42.1, attention as one operation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autotune.estimate.cards import device_of, find_card
from autotune.estimate.ceilings import ceilings_from_card
from autotune.estimate.latency import Latency, predict
from autotune.estimate.profile import Block, Call, Profile, Tensors, Weights, Work
from autotune.levers.plan import Part, Place, Plan
from autotune.records import Component, Model, Workload

T, GB = 1e12, 1e9


def weights(billions: float, class_name: str, library: str = "diffusers") -> Weights:
    """One Linear that stands for all of them."""
    rows = Tensors(kind="linear", shape=(1024, int(billions * 1e9) // 1024 // 1024 * 1024))
    return Weights(
        class_name=class_name,
        library=library,
        blocks=(Block(name="blocks", count=1, tensors=(rows,)),),
    )


def call(component: str, count: int, work: Work) -> Call:
    return Call(component=component, count=count, work=work, narrow_bytes=0, other_bytes=0)


DECODE = call(
    "vae", 1, Work(convolution=9.37 * T, attention=1.1 * T, moved_bytes=33.4 * GB, operations=139)
)
#: 512 tokens through 4.76 billion numbers, of which each multiplies once.
T5 = call(
    "text_encoder_2",
    1,
    Work(linear=4.8 * T, attention=0.05 * T, moved_bytes=8 * GB, operations=700),
)
FLUX_PASS = Work(linear=59.51 * T, attention=14.87 * T, moved_bytes=236.7 * GB, operations=3737)
SDXL_STEP = Work(
    linear=8.71 * T,
    convolution=3.25 * T,
    attention=1.57 * T,
    moved_bytes=36.8 * GB,
    operations=1866,
)
WAN_PASS = Work(linear=785.4 * T, attention=893 * T, moved_bytes=2777 * GB, operations=3633)


def flux(steps: int = 28) -> Profile:
    return Profile(
        model="flux",
        workload=Workload(steps=steps),
        components={
            "transformer": weights(11.9, "FluxTransformer2DModel"),
            "text_encoder_2": weights(4.76, "T5EncoderModel", "transformers"),
            "vae": weights(0.084, "AutoencoderKL"),
        },
        encode=(T5,),
        denoise=(call("transformer", steps, FLUX_PASS),),
        decode={"off": DECODE},
    )


def sdxl(steps: int = 30) -> Profile:
    return Profile(
        model="sdxl",
        workload=Workload(steps=steps),
        components={
            "transformer": weights(2.567, "UNet2DConditionModel"),
            "vae": weights(0.084, "AutoencoderKL"),
        },
        denoise=(call("transformer", steps, SDXL_STEP),),
        decode={"off": DECODE},
    )


def one_pass(name: str, billions: float, work: Work) -> Profile:
    return Profile(
        model=name,
        workload=Workload(steps=1),
        components={"transformer": weights(billions, name)},
        denoise=(call("transformer", 1, work),),
    )


MODEL = Model(
    id="published",
    revision="0",
    source="folder",
    folder="published",
    pipeline="FluxPipeline",
    family=None,
    weights="random",
    denoiser="transformer",
    components=(Component(name="transformer", library="diffusers", class_name="Denoiser"),),
    workload=Workload(),
)
#: Where components lie, by choice of offload: the denoiser, and the others.
PLACES: Mapping[str, tuple[Part, Part]] = {
    "none": (Part(dtype="bf16"), Part(dtype="bf16")),
    "model": (Part(dtype="bf16", place=Place.SWAPPED),) * 2,
    "staged": (Part(dtype="bf16", place=Place.STAGED),) * 2,
    "sequential": (Part(dtype="bf16", place=Place.LEAVES),) * 2,
    "group-block": (
        Part(dtype="bf16", place=Place.BLOCKS),
        Part(dtype="bf16", place=Place.LEAVES),
    ),
    "group-leaf-stream": (Part(dtype="bf16", place=Place.LEAVES, ahead=True),) * 2,
    "group-block-stream": (
        Part(dtype="bf16", place=Place.BLOCKS, ahead=True),
        Part(dtype="bf16", place=Place.LEAVES, ahead=True),
    ),
    "partial-50": (
        Part(dtype="bf16", place=Place.BLOCKS, share=0.5, ahead=True),
        Part(dtype="bf16", place=Place.LEAVES, ahead=True),
    ),
}


def plan(profile: Profile, card: str, candidate: Mapping[str, str]) -> Plan:
    """What the levers would make of a candidate, as far as published results need it."""
    denoiser, others = PLACES[candidate.get("offload", "none")]
    cast = candidate.get("layerwise-casting", "off") != "off"
    parts = dict.fromkeys(profile.components, others)
    parts["transformer"] = replace(
        denoiser, quantizer=candidate.get("quantize-denoiser"), cast=cast
    )
    if "text_encoder_2" in parts:
        encoder = candidate.get("quantize-text-encoder")
        parts["text_encoder_2"] = replace(others, quantizer=encoder)
    compiled = {"transformer"} if "compile" in candidate else set()
    return Plan(
        model=MODEL,
        device=device_of(find_card(card)),
        workload=profile.workload,
        parts=parts,
        compiled=frozenset(compiled),
    )


def predicted(profile: Profile, card: str, **choices: str) -> Latency:
    candidate = {name.replace("_", "-"): choice for name, choice in choices.items()}
    ceilings = ceilings_from_card(find_card(card))
    return predict(profile, plan(profile, card, candidate), candidate, ceilings)
