"""Models as levers look at them, made of whatever module a test wants to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autotune.levers.base import Target
from autotune.models.structure import Structure
from autotune.records import Model, Workload
from tests.trial.bench import CPU, SMALL, fitted, tiny_model

#: Enough steps for a cache.
LONG = SMALL.but(steps=9)


@dataclass(frozen=True, kw_only=True)
class View:
    """A model whose denoiser is the module given."""

    denoiser: Any
    record: Model
    workload: Workload = LONG

    def module(self, component: str) -> Any:
        return self.denoiser if component == self.record.denoiser else None


def view_of(name: str, workload: Workload = LONG, **changes: object) -> Structure:
    """The tiny pipeline of that name, with some fields of its record changed."""
    return Structure(tiny_model(name).but(**changes), fitted(name, workload))


def reasons(lever: Any, view: Any, device: Any = CPU) -> dict[str, str | None]:
    """By choice, why it is not available."""
    return {choice.id: choice.unavailable for choice in lever.choices(device, view)}


def loaded(name: str, workload: Workload = LONG, *, twin: bool = False) -> Target:
    """The tiny pipeline, loaded and with nothing set; with a second denoiser if wanted."""
    import copy

    import diffusers

    model = tiny_model(name)
    pipe = getattr(diffusers, model.pipeline).from_pretrained(model.folder)
    pipe.set_progress_bar_config(disable=True)
    if twin:
        own = model.component(model.denoiser)
        assert own is not None
        second = own.but(name=f"{model.denoiser}_2")
        model = model.but(components=(*model.components, second))
        pipe.register_modules(**{second.name: copy.deepcopy(getattr(pipe, model.denoiser))})
    return Target(model=model, device=CPU, workload=fitted(name, workload), pipe=pipe)
