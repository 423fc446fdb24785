"""The quantizers: what each is, what it needs, and how its Linears are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotune.levers.mechanisms.quantizer_configs import (
    Configuration,
    bitsandbytes,
    modelopt,
    quanto,
    sdnq,
    torchao,
)
from autotune.levers.script import Name, evaluated
from autotune.records import Fidelity

#: Numbers with one scale: torchao's default, which its fastest kernels ask for.
_INT4_GROUP = 128


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """One way to quantize the Linears of a component.

    Args:
        package: What it needs, as a requirement, with the oldest version that diffusers takes.
        bits: Of a converted weight, without its scales: less than it takes in memory.
        mark: What ``converted.label`` says of a Linear that it converted.
        configuration: What a library is told, in code.
        step: A Linear is converted only if its widths are multiples of these (in, out).
        least: A Linear with fewer weights than that is left alone.
        start_up_s: By how many seconds the first call may be longer than the others.
    """

    id: str
    what: str
    fidelity: Fidelity
    package: str
    bits: int
    mark: str
    configuration: Configuration
    libraries: tuple[str, ...] = ("diffusers", "transformers")
    step: tuple[int, int] = (1, 1)
    least: int = 0
    start_up_s: float = 0.0

    def make(self, library: str, dtype: Any) -> Any:
        """The configuration for a component of that library, computing in that torch dtype."""
        return evaluated(self.configuration(library, Name(str(dtype))))


_BITSANDBYTES = "bitsandbytes>=0.48"
_TORCHAO = "torchao>=0.15"
_QUANTO = "optimum-quanto>=0.2.6"
_SDNQ = "sdnq>=0.2.2"
#: SDNQ leaves smaller layers alone unless told otherwise (sdnq 0.2.8, minimum_allowed_numel).
_SDNQ_LEAST = 16_384
#: It compiles the unpacking of weights when they are first used.
_SDNQ_START_UP_S = 60.0

_ALL = (
    Quantizer(
        id="bnb-nf4",
        what="bitsandbytes: 4-bit weights on a normal distribution's quantiles",
        fidelity=Fidelity.BALANCED,
        package=_BITSANDBYTES,
        bits=4,
        mark="bitsandbytes nf4",
        configuration=bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    ),
    Quantizer(
        id="bnb-fp4",
        what="bitsandbytes: 4-bit floating-point weights",
        fidelity=Fidelity.BALANCED,
        package=_BITSANDBYTES,
        bits=4,
        mark="bitsandbytes fp4",
        configuration=bitsandbytes(load_in_4bit=True, bnb_4bit_quant_type="fp4"),
    ),
    Quantizer(
        id="bnb-int8",
        what="bitsandbytes: 8-bit products, outliers apart (LLM.int8)",
        fidelity=Fidelity.CLOSE,
        package=_BITSANDBYTES,
        bits=8,
        mark="bitsandbytes int8",
        configuration=bitsandbytes(load_in_8bit=True, llm_int8_threshold=6.0),
    ),
    Quantizer(
        id="torchao-int8wo",
        what="torchao: 8-bit integer weights",
        fidelity=Fidelity.CLOSE,
        package=_TORCHAO,
        bits=8,
        mark="torchao Int8Tensor",
        configuration=torchao("Int8WeightOnlyConfig", "PerRow"),
    ),
    Quantizer(
        id="torchao-int8dq",
        what="torchao: 8-bit integer weights and activations",
        fidelity=Fidelity.BALANCED,
        package=_TORCHAO,
        bits=8,
        mark="torchao Int8Tensor, activations by PerRow",
        configuration=torchao("Int8DynamicActivationInt8WeightConfig", "PerRow"),
    ),
    Quantizer(
        id="torchao-int4wo",
        what="torchao: 4-bit integer weights, packed in tiles",
        fidelity=Fidelity.BALANCED,
        package=_TORCHAO,
        bits=4,
        mark="torchao Int4TilePackedTo4dTensor",
        # The other packings need a package that nobody has published (levers.md B39).
        configuration=torchao(
            "Int4WeightOnlyConfig", group_size=_INT4_GROUP, int4_packing_format="tile_packed_to_4d"
        ),
        step=(_INT4_GROUP, 1),
    ),
    Quantizer(
        id="torchao-fp8wo",
        what="torchao: 8-bit floating-point weights",
        fidelity=Fidelity.BALANCED,
        package=_TORCHAO,
        bits=8,
        mark="torchao Float8Tensor",
        configuration=torchao("Float8WeightOnlyConfig"),
    ),
    Quantizer(
        id="torchao-fp8dq",
        what="torchao: 8-bit floating-point weights and activations, a scale a row",
        fidelity=Fidelity.BALANCED,
        package=_TORCHAO,
        bits=8,
        mark="torchao Float8Tensor, activations by PerRow",
        configuration=torchao("Float8DynamicActivationFloat8WeightConfig", "PerRow"),
        step=(16, 16),
    ),
    Quantizer(
        id="torchao-fp8dq-tensor",
        what="torchao: 8-bit floating-point weights and activations, a scale a tensor",
        fidelity=Fidelity.BALANCED,
        package=_TORCHAO,
        bits=8,
        mark="torchao Float8Tensor, activations by PerTensor",
        configuration=torchao("Float8DynamicActivationFloat8WeightConfig", "PerTensor"),
        step=(16, 16),
    ),
    Quantizer(
        id="quanto-int8",
        what="quanto: 8-bit integer weights",
        fidelity=Fidelity.CLOSE,
        package=_QUANTO,
        bits=8,
        mark="quanto qint8",
        configuration=quanto("int8"),
    ),
    Quantizer(
        id="quanto-int4",
        what="quanto: 4-bit integer weights",
        fidelity=Fidelity.BALANCED,
        package=_QUANTO,
        bits=4,
        mark="quanto qint4",
        configuration=quanto("int4"),
    ),
    Quantizer(
        id="quanto-fp8",
        what="quanto: 8-bit floating-point weights",
        fidelity=Fidelity.BALANCED,
        package=_QUANTO,
        bits=8,
        mark="quanto qfloat8_e4m3fn",
        configuration=quanto("float8"),
    ),
    Quantizer(
        id="sdnq-int8",
        what="SDNQ: 8-bit integer weights",
        fidelity=Fidelity.CLOSE,
        package=_SDNQ,
        bits=8,
        mark="sdnq int8",
        configuration=sdnq(weights_dtype="int8"),
        least=_SDNQ_LEAST,
        start_up_s=_SDNQ_START_UP_S,
    ),
    Quantizer(
        id="sdnq-uint4",
        what="SDNQ: 4-bit integer weights",
        fidelity=Fidelity.BALANCED,
        package=_SDNQ,
        bits=4,
        mark="sdnq uint4",
        configuration=sdnq(weights_dtype="uint4"),
        least=_SDNQ_LEAST,
        start_up_s=_SDNQ_START_UP_S,
    ),
    Quantizer(
        id="sdnq-int8-matmul",
        what="SDNQ: 8-bit integer weights and activations",
        fidelity=Fidelity.BALANCED,
        package=_SDNQ,
        bits=8,
        mark="sdnq int8, integer products",
        configuration=sdnq(weights_dtype="int8", use_quantized_matmul=True),
        least=_SDNQ_LEAST,
        start_up_s=_SDNQ_START_UP_S,
    ),
    Quantizer(
        id="modelopt-fp8",
        what="NVIDIA ModelOpt: 8-bit floating-point weights",
        fidelity=Fidelity.BALANCED,
        package="nvidia-modelopt>=0.33.1",
        bits=8,
        mark="modelopt",
        configuration=modelopt("FP8"),
        libraries=("diffusers",),
    ),
)

QUANTIZERS: Mapping[str, Quantizer] = {quantizer.id: quantizer for quantizer in _ALL}
