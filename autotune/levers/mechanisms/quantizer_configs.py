"""Makes the configurations that ask diffusers or transformers for a quantizer.

A configuration belongs to the library of the component it is for, and is handed over by component
(``quant_mapping``): the other way of asking works for bitsandbytes alone (levers.md A3.1).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

#: From a library's name and the format that is computed in, a configuration of that library.
Make = Callable[[str, Any], Any]


def bitsandbytes(**options: Any) -> Make:
    """``BitsAndBytesConfig``, with its type and format of computation always given."""

    def make(library: str, dtype: Any) -> Any:
        # Without a type and a format it would be fp4 and fp32: slow, and worse (levers.md B37).
        four = {"bnb_4bit_compute_dtype": dtype, "bnb_4bit_use_double_quant": False}
        more = four if "load_in_4bit" in options else {}
        return _configuration(library, "BitsAndBytesConfig")(**options, **more)

    return make


def torchao(name: str, granularity: str | None = None, **options: Any) -> Make:
    """``TorchAoConfig`` of an object of torchao, with its granularity if it takes one."""

    def make(library: str, dtype: Any) -> Any:
        from torchao import quantization

        more = {"granularity": getattr(quantization, granularity)()} if granularity else {}
        config = getattr(quantization, name)(**options, **more)
        return _configuration(library, "TorchAoConfig")(config)

    return make


def quanto(dtype_name: str) -> Make:
    """``QuantoConfig``, whose one argument has two names."""

    def make(library: str, dtype: Any) -> Any:
        argument = "weights_dtype" if library == "diffusers" else "weights"
        return _configuration(library, "QuantoConfig")(**{argument: dtype_name})

    return make


def sdnq(**options: Any) -> Make:
    """``SDNQConfig``."""

    def make(library: str, dtype: Any) -> Any:
        # One class for both libraries; importing it is what makes it known to transformers.
        import sdnq

        return sdnq.SDNQConfig(**options)

    return make


def modelopt(quant_type: str) -> Make:
    """``NVIDIAModelOptConfig``, which diffusers alone has."""

    def make(library: str, dtype: Any) -> Any:
        return _configuration(library, "NVIDIAModelOptConfig")(quant_type=quant_type)

    return make


def _configuration(library: str, name: str) -> Any:
    return getattr(importlib.import_module(library), name)
