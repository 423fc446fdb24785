"""What a lever is: five small members, no knowledge of its siblings, no state.

A lever is a module (or any object) with these members, listed in ``autotune/levers/__init__.py``
or registered by a third party under the entry-point group ``autotune.levers``. It imports torch
and diffusers inside functions only. A choice id stands in recipes and is for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autotune.records import Choice, Device, Evidence, Fidelity, Model, Stage, Workload


class ModelView(Protocol):
    """A model as a lever may look at it before any weight is loaded."""

    @property
    def record(self) -> Model:
        """The pinned model."""

    @property
    def workload(self) -> Workload:
        """What will be generated."""

    def module(self, component: str) -> Any:
        """The component's module on the meta device (no memory), or ``None`` if it has none."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one observed generation did to one module: ``graphs`` are compiled ones it ran."""

    calls: int
    widest_output: tuple[int, ...]
    graphs: int = 0


@dataclass(kw_only=True)
class Target:
    """The thing levers are applied to, while it is being built.

    Args:
        load_arguments: Go to the pipeline's ``from_pretrained``.
        quantization: By component, the configuration it is quantized with while loading.
        prepared: Where the study keeps what is expensive to make and the same for many
            candidates; ``None`` outside a study.
        pipe: The pipeline, from the build stage on.
        multiple: How many times the workload's batch one call makes.
        seen: What one observed generation did to the modules that were watched.
    """

    model: Model
    device: Device
    workload: Workload
    load_arguments: dict[str, Any] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    prepared: Path | None = None
    pipe: Any = None
    multiple: int = 1
    seen: Mapping[str, Seen] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """How many pictures one call makes."""
        return self.workload.batch * self.multiple

    @property
    def denoiser(self) -> Any:
        """The transformer or UNet."""
        return getattr(self.pipe, self.model.denoiser)

    @property
    def denoisers(self) -> Mapping[str, Any]:
        """The denoiser and its twins, by component name."""
        found = {name: getattr(self.pipe, name, None) for name in self.model.denoisers}
        return {name: module for name, module in found.items() if module is not None}

    @property
    def vae(self) -> Any:
        """The image decoder, or ``None``."""
        return getattr(self.pipe, "vae", None)


@runtime_checkable
class Lever(Protocol):
    """One thing that can be set.

    A lever may also have any of these:

    - ``plan(plan, choice)``: from what the levers before it make of the model, said as a
      `autotune.levers.plan.Plan`, what this choice makes of it: all that the estimator knows;
    - ``code(script, choice)``: the `autotune.levers.script.Script` with what this choice takes in
      plain diffusers code, or ``Untold`` with the reason why that cannot be told;
    - ``watched(target, choice)``: modules by name whose calls the observed generation counts,
      found afterwards in ``target.seen``;
    - ``start_up_s(choice)``: seconds by which the first call may be longer than the others;
    - ``by_schedule(choice)``: whether some steps are cheaper than others, so that a few of them
      say nothing about all.
    """

    name: str
    what: str
    stage: Stage

    def choices(self, device: Device, view: ModelView | None) -> Sequence[Choice]:
        """Every choice, each available or with the reason why it is not.

        Exactly one choice is marked ``baseline``, and that one is always available. Without a
        model only the device is asked.
        """

    def apply(self, target: Target, choice: str) -> None:
        """Set the choice. Applying the same choice twice equals applying it once."""

    def engaged(self, target: Target, choice: str) -> Evidence:
        """Prove from the built pipeline, and from what was seen, that the choice took effect."""


@dataclass(frozen=True, kw_only=True)
class ChoiceMaker:
    """Makes the choices of one lever with less noise."""

    lever: str

    def __call__(
        self,
        id: str,
        what: str,
        *,
        unless: str | None = None,
        baseline: bool = False,
        fidelity: Fidelity = Fidelity.EXACT,
    ) -> Choice:
        """One choice; ``unless`` is the reason it cannot exist here, if there is one."""
        return Choice(
            lever=self.lever,
            id=id,
            what=what,
            unavailable=unless,
            baseline=baseline,
            fidelity=fidelity,
        )
