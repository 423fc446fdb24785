"""The configurations that ask diffusers or transformers for a quantizer, as expressions.

A configuration belongs to the library of the component it is for, and is handed over by component
(``quant_mapping``): the other way of asking works for bitsandbytes alone (levers.md A3.1).
"""

from __future__ import annotations

from collections.abc import Callable

from autotune.levers.script import Call, Expression, Name, call

#: From a library's name and the format that is computed in, a configuration of that library.
Configuration = Callable[[str, Name], Call]


def bitsandbytes(**options: Expression) -> Configuration:
    """``BitsAndBytesConfig``, with its type and format of computation always given."""

    def configuration(library: str, dtype: Name) -> Call:
        # Without a type and a format it would be fp4 and fp32: slow, and worse (levers.md B37).
        name = f"{library}.BitsAndBytesConfig"
        if "load_in_4bit" not in options:
            return call(name, **options)
        four: dict[str, Expression] = {"bnb_4bit_compute_dtype": dtype}
        return call(name, **options, **four, bnb_4bit_use_double_quant=False)

    return configuration


def torchao(name: str, granularity: str | None = None, **options: Expression) -> Configuration:
    """``TorchAoConfig`` of an object of torchao, with its granularity if it takes one."""

    def configuration(library: str, dtype: Name) -> Call:
        home = "torchao.quantization"
        more = {"granularity": call(f"{home}.{granularity}")} if granularity else {}
        return call(f"{library}.TorchAoConfig", call(f"{home}.{name}", **options, **more))

    return configuration


def quanto(dtype_name: str) -> Configuration:
    """``QuantoConfig``, whose one argument has two names."""

    def configuration(library: str, dtype: Name) -> Call:
        argument = "weights_dtype" if library == "diffusers" else "weights"
        return call(f"{library}.QuantoConfig", **{argument: dtype_name})

    return configuration


def sdnq(**options: Expression) -> Configuration:
    """``SDNQConfig``, one class for both libraries."""

    def configuration(library: str, dtype: Name) -> Call:
        # Importing it is what makes it known to transformers.
        return call("sdnq.SDNQConfig", **options)

    return configuration


def modelopt(quant_type: str) -> Configuration:
    """``NVIDIAModelOptConfig``, which diffusers alone has."""

    def configuration(library: str, dtype: Name) -> Call:
        return call(f"{library}.NVIDIAModelOptConfig", quant_type=quant_type)

    return configuration


def modules_of(configuration: Expression) -> set[str]:
    """The modules that have to be imported for it."""
    if not isinstance(configuration, Call):
        return set()
    found = {configuration.function.rpartition(".")[0]}
    inner = (*configuration.positional, *configuration.named.values())
    return found.union(*map(modules_of, inner))
