"""Synthetic recorded spaces that look like Flux on a card, to search where no card is at hand.

What they are made of, after numbers.md F3 and G. **It ranks strategies; it predicts no card.**

- 51,200 candidates of eight levers. A cost model with assumed efficiencies (a step is the larger
  of products and streamed weights, plus what each choice costs) says seconds and bytes: the
  *prediction*.
- The *truth* is the prediction times a random factor for each choice and for each pair of choices
  (log-normal), and bytes with an error of their own.
  A good prior is 10 % off for each choice, 4 % for each pair, 3 % in memory, and 1 % of all pairs
  crash although nothing says so. A poor one is 30 %, 8 %, 8 % and 2 % off.
- Known rules forbid combinations (bitsandbytes does not compile as a whole, fp8 products need the
  weights on the card, ...). Those are not in the table, as they are not in a recorded one. Of what
  is left, what exceeds the card's memory has run out of it.
- A trial costs its load, its quantization, its compilation and three generations.

The same seed makes the same space.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.levers.rule import RuleTable, make_rule
from autotune.search.recorded import Header, Predicted, RecordedSpace, Row, make_space
from autotune.status import Status

LEVERS: Mapping[str, tuple[str, ...]] = {
    "offload": ("none", "encoders", "model", "group", "leaf"),
    "quantize-denoiser": ("none", "fp8wo", "int8wo", "fp8dq", "int8dq", "nf4", "gguf-q4", "svdq"),
    "quantize-text-encoder": ("none", "int8", "nf4", "fp8cast"),
    "compile": ("none", "blocks", "whole", "whole-autotune"),
    "attention": ("native", "flash", "sage", "xformers"),
    "cache": ("none", "first-block", "first-block-strong", "taylor", "mag"),
    "vae-tiling": ("off", "on"),
    "channels-last": ("off", "vae"),
}
BASELINE = {lever: ids[0] for lever, ids in LEVERS.items()}

#: Assumed of the denoiser: bytes of its weights and speed of its products, beside bf16.
_WEIGHT_SHARE = {
    "none": 1.0, "fp8wo": 0.51, "int8wo": 0.51, "fp8dq": 0.51, "int8dq": 0.52, "nf4": 0.28,
    "gguf-q4": 0.29, "svdq": 0.28,
}  # fmt: skip
_PRODUCTS = {
    "none": 1.0, "fp8wo": 1.06, "int8wo": 1.10, "fp8dq": 0.66, "int8dq": 0.72, "nf4": 1.22,
    "gguf-q4": 1.45, "svdq": 0.55,
}  # fmt: skip
_ENCODER_GB = {"none": 9.8, "int8": 5.1, "nf4": 3.0, "fp8cast": 5.0}
_COMPILED = {"none": 1.0, "blocks": 0.78, "whole": 0.75, "whole-autotune": 0.72}
_COMPILE_S = {"none": 0.0, "blocks": 12.0, "whole": 65.0, "whole-autotune": 180.0}
_ATTENTION = {"native": 1.0, "flash": 0.97, "sage": 0.88, "xformers": 1.03}
_STEPS = {
    "none": 1.0,
    "first-block": 0.62,
    "first-block-strong": 0.47,
    "taylor": 0.52,
    "mag": 0.55,
}
_QUANTIZE_S = {"none": 0.0, "svdq": 0.0, "gguf-q4": 4.0}
#: Assumed of the card: a bf16 step of Flux, the way over PCIe, and what a process takes anyway.
_STEP_S, _NUMBER_OF_STEPS, _LINK_GB_S, _CONTEXT_GB = 0.6, 28, 20.0, 0.6
_DENOISER_GB, _ACTIVATIONS_GB = 23.8, 1.6

#: Combinations that are known not to work: pairs of lever=choice|choice.
_RULES = (
    ("quantize-denoiser=nf4", "compile=whole-autotune"),
    ("quantize-denoiser=gguf-q4", "compile=whole|whole-autotune"),
    ("quantize-denoiser=svdq", "compile=whole|whole-autotune|blocks"),
    ("quantize-denoiser=svdq", "attention=sage|xformers"),
    ("quantize-denoiser=nf4|gguf-q4|svdq|fp8dq|int8dq", "offload=leaf"),
    ("quantize-denoiser=nf4|svdq", "offload=group"),
    ("offload=leaf|model", "compile=whole|whole-autotune"),
    ("offload=group", "compile=whole-autotune"),
    ("cache=first-block|first-block-strong|taylor|mag", "compile=whole|whole-autotune"),
    ("cache=mag|taylor", "offload=leaf"),
    ("quantize-text-encoder=nf4", "offload=leaf|group"),
    ("quantize-text-encoder=fp8cast", "offload=group|leaf"),
    ("attention=sage", "compile=whole-autotune"),
)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How far off predictions are: log deviations, and the share of pairs that crash."""

    choice: float
    pair: float
    memory: float
    crashes: float


GOOD = Noise(choice=0.10, pair=0.04, memory=0.03, crashes=0.01)
POOR = Noise(choice=0.30, pair=0.08, memory=0.08, crashes=0.02)


def make_synthetic(seed: int, noise: Noise, *, card_gb: float = 24.0) -> RecordedSpace:
    """The recorded space of a seed, on a card of that much memory."""
    lot = random.Random(f"{seed} {noise}")
    truth = _Truth(lot, noise)
    header = Header(
        model="synthetic flux",
        device={"kind": "cuda", "name": "assumed", "total_bytes": round(card_gb * 1e9)},
        workload={"width": 1024, "height": 1024, "steps": _NUMBER_OF_STEPS},
        levers=LEVERS,
        baseline=BASELINE,
    )
    rows = (_row(choices, truth, round(card_gb * 1e9)) for choices in _legal())
    return make_space(header, rows)


def _legal() -> Iterator[dict[str, str]]:
    rules = RuleTable(
        make_rule(f"assumed-{number}", *when, reason="assumed", cite="numbers.md F3")
        for number, when in enumerate(_RULES)
    )
    for ids in itertools.product(*LEVERS.values()):
        choices = dict(zip(LEVERS, ids, strict=True))
        if rules.broken(choices) is None:
            yield choices


class _Truth:
    """The random factors of one space."""

    def __init__(self, lot: random.Random, noise: Noise) -> None:
        ids = [f"{lever}={id}" for lever, ids in LEVERS.items() for id in ids]
        plain = {f"{lever}={id}" for lever, id in BASELINE.items()}

        def factors(deviation: float) -> dict[str, float]:
            return {id: lot.gauss(0, deviation) for id in ids if id not in plain}

        self.time = factors(noise.choice)
        self.memory = factors(noise.memory / 2)
        self.pairs: dict[tuple[str, str], float] = {}
        self.crashes: set[tuple[str, str]] = set()
        for pair in itertools.combinations([id for id in ids if id not in plain], 2):
            self.pairs[pair] = lot.gauss(0, noise.pair)
            if lot.random() < noise.crashes:
                self.crashes.add(pair)

    def factor(self, choices: Mapping[str, str]) -> float:
        ids = self._ids(choices)
        own = sum(self.time[id] for id in ids)
        return math.exp(own + sum(self.pairs[pair] for pair in itertools.combinations(ids, 2)))

    def memory_factor(self, choices: Mapping[str, str]) -> float:
        return math.exp(sum(self.memory[id] for id in self._ids(choices)))

    def crashed(self, choices: Mapping[str, str]) -> bool:
        ids = self._ids(choices)
        return any(pair in self.crashes for pair in itertools.combinations(ids, 2))

    def _ids(self, choices: Mapping[str, str]) -> list[str]:
        return [f"{lever}={id}" for lever, id in choices.items() if f"{lever}={id}" in self.time]


def _row(choices: Mapping[str, str], truth: _Truth, card_bytes: int) -> Row:
    seconds, bytes_ = _predict(choices)
    predicted = Predicted(latency_s=seconds, peak_bytes=bytes_)
    latency_s = seconds * truth.factor(choices)
    peak_bytes = round(bytes_ * truth.memory_factor(choices))
    load_s = 15.0 + _QUANTIZE_S.get(choices["quantize-denoiser"], 25.0)
    if truth.crashed(choices):
        return Row(choices=choices, outcome=Status.CRASHED, cost_s=load_s, predicted=predicted)
    cost_s = load_s + _COMPILE_S[choices["compile"]] + 3 * latency_s
    if peak_bytes > card_bytes:
        return Row(
            choices=choices,
            outcome=Status.OUT_OF_VRAM,
            cost_s=load_s,
            predicted=predicted,
        )
    return Row(
        choices=choices,
        outcome=Status.MEASURED,
        latency_s=latency_s,
        peak_bytes=peak_bytes,
        cost_s=cost_s,
        predicted=predicted,
    )


def _predict(choices: Mapping[str, str]) -> tuple[float, int]:
    """Seconds and bytes by the assumed cost model."""
    quantized, offload = choices["quantize-denoiser"], choices["offload"]
    weights_gb = _DENOISER_GB * _WEIGHT_SHARE[quantized]
    encoders_gb = _ENCODER_GB[choices["quantize-text-encoder"]]
    products_s = _STEP_S * _PRODUCTS[quantized] * _COMPILED[choices["compile"]]
    step_s = products_s * _ATTENTION[choices["attention"]]
    if offload == "leaf":
        step_s += weights_gb / (_LINK_GB_S * 0.6)
    elif offload == "group":
        step_s = max(step_s * 1.05, weights_gb / _LINK_GB_S)
    decode_s = 0.5 * (1.4 if choices["vae-tiling"] == "on" else 1.0)
    decode_s *= 0.93 if choices["channels-last"] == "vae" else 1.0
    encode_s = (
        0.2
        + {"none": 0.0, "int8": 0.05, "nf4": 0.1, "fp8cast": 0.1}[choices["quantize-text-encoder"]]
    )
    moved_s = {
        "none": 0.0,
        "encoders": encoders_gb / _LINK_GB_S,
        "model": (weights_gb + encoders_gb) * 2 / (_LINK_GB_S * 0.4),
        "group": encoders_gb / _LINK_GB_S,
        "leaf": encoders_gb / _LINK_GB_S,
    }[offload]
    steps = _NUMBER_OF_STEPS * _STEPS[choices["cache"]]
    seconds = encode_s + steps * step_s + decode_s + moved_s
    decode_gb = 1.2 if choices["vae-tiling"] == "on" else 3.1
    activations_gb = _ACTIVATIONS_GB * (0.85 if choices["compile"] != "none" else 1.0)
    activations_gb += {"none": 0.0, "taylor": 0.8}.get(choices["cache"], 0.2)
    resident_gb = {
        "none": weights_gb + encoders_gb + max(activations_gb, decode_gb),
        "encoders": max(encoders_gb + 0.3, weights_gb + max(activations_gb, decode_gb)),
        "model": max(encoders_gb + 0.3, weights_gb + activations_gb, decode_gb),
        "group": max(3.0 + activations_gb, decode_gb, encoders_gb * 0.4),
        "leaf": max(0.6 + activations_gb, decode_gb),
    }[offload]
    return seconds, round((resident_gb + _CONTEXT_GB) * 1e9)
