"""A candidate as plain diffusers code, said by its levers without importing or running anything.

Each lever adds its own lines to a `Script` (``code(script, choice)``), in the order in which
levers are applied. Values are told as expressions; how they are laid out is the exporter's.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from autotune.errors import AutotuneError, ExitCode
from autotune.records import Model, Workload


class Untold(AutotuneError):
    """A choice cannot be told in plain diffusers code; the message is the reason."""

    exit_code = ExitCode.NO_RESULT


class Name(str):
    """Code that stands as it is: a name, or any expression that fits a line."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call by its dotted name."""

    function: str
    positional: tuple[Expression, ...] = ()
    named: Mapping[str, Expression] = field(default_factory=dict)


#: Anything but names and calls is a literal: its own value.
Expression: TypeAlias = "Call | Mapping[str, Expression] | Name | str | int | float | bool | None"
#: A call, or lines as they stand.
Statement: TypeAlias = Call | str


def call(function: str, *positional: Expression, **named: Expression) -> Call:
    """A call, written as it will stand."""
    return Call(function=function, positional=positional, named=named)


def evaluated(expression: Expression) -> Any:
    """What the expression is, so that what is done and what is told come from one place.

    Names are looked up where their module says: only what stands in this package gets here.
    """
    if isinstance(expression, Call):
        positional = [evaluated(one) for one in expression.positional]
        named = {name: evaluated(one) for name, one in expression.named.items()}
        return _looked_up(expression.function)(*positional, **named)
    return _looked_up(expression) if isinstance(expression, Name) else expression


def _looked_up(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True, kw_only=True)
class Script:
    """What is to be written.

    Args:
        device: torch's name of it.
        environment: Variables to be set before torch is imported.
        modules: What is imported, besides torch and diffusers.
        definitions: Functions and classes that stand before everything else.
        load: Arguments of the pipeline's ``from_pretrained``.
        quantization: By component, the configuration it is quantized with while loading.
        statements: What follows once ``pipe`` is loaded, in order.
        placed: Whether something in them says where the pipeline lies.
        on_host: Components that are no modules any more, and that nothing places.
        hooked: The components whose calls go through hooks.
        multiple: How many times the workload's batch one call makes.
    """

    model: Model
    workload: Workload
    device: str
    environment: Mapping[str, str] = field(default_factory=dict)
    modules: frozenset[str] = frozenset()
    definitions: tuple[str, ...] = ()
    load: Mapping[str, Expression] = field(default_factory=dict)
    quantization: Mapping[str, Call] = field(default_factory=dict)
    statements: tuple[Statement, ...] = ()
    placed: bool = False
    on_host: frozenset[str] = frozenset()
    hooked: frozenset[str] = frozenset()
    multiple: int = 1

    @property
    def dtype(self) -> Name:
        """The format that is loaded in."""
        found = self.load.get("dtype")
        return found if isinstance(found, Name) else Name("torch.float32")

    @property
    def denoiser(self) -> str:
        """The transformer or UNet, as it is written."""
        return f"pipe.{self.model.denoiser}"

    @property
    def denoisers(self) -> tuple[str, ...]:
        """The denoiser and its twins."""
        return tuple(f"pipe.{name}" for name in self.model.denoisers)

    @property
    def pinned(self) -> Mapping[str, Expression]:
        """What loading from the model's repository takes, so that it is this revision."""
        return {"revision": Name("REVISION")} if self.model.source == "hub" else {}

    def class_of(self, component: str) -> str:
        """The name of a component's class; empty if there is no such component."""
        part = self.model.component(component)
        return part.class_name if part else ""

    def but(self, **changes: Any) -> Script:
        """A script with some things changed."""
        return replace(self, **changes)

    def importing(self, *modules: str) -> Script:
        """A script that also imports these."""
        return self.but(modules=self.modules | set(modules))

    def defining(self, *texts: str) -> Script:
        """A script with these functions and classes, each once."""
        new = tuple(text.strip() for text in texts if text.strip() not in self.definitions)
        return self.but(definitions=self.definitions + new)

    def loading(self, **arguments: Expression) -> Script:
        """A script that loads with these arguments."""
        return self.but(load={**self.load, **arguments})

    def then(self, *statements: Statement) -> Script:
        """A script that goes on with these; lines that stand there already are not repeated."""
        new = (one for one in statements if isinstance(one, Call) or one not in self.statements)
        return self.but(statements=(*self.statements, *new))
