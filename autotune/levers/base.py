"""What a lever is: five small members, no knowledge of its siblings, no state.

A lever is a module (or any object) with these members, listed in ``autotune/levers/__init__.py``
or registered by a third party under the entry-point group ``autotune.levers``. It imports torch
and diffusers inside functions only. A choice id stands in recipes and is for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from autotune.records import Choice, Device, Evidence, Model, Stage, Workload


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
    """What one observed generation did to one module."""

    calls: int
    widest_output: tuple[int, ...]


@dataclass(kw_only=True)
class Target:
    """The thing levers are applied to, while it is being built.

    ``load_arguments`` go to ``from_pretrained``; ``pipe`` is there from the build stage on;
    ``seen`` holds what one observed generation did, when there was one.
    """

    model: Model
    device: Device
    workload: Workload
    load_arguments: dict[str, Any] = field(default_factory=dict)
    pipe: Any = None
    seen: Mapping[str, Seen] = field(default_factory=dict)

    @property
    def denoiser(self) -> Any:
        """The transformer or UNet."""
        return getattr(self.pipe, self.model.denoiser)

    @property
    def vae(self) -> Any:
        """The image decoder, or ``None``."""
        return getattr(self.pipe, "vae", None)


@runtime_checkable
class Lever(Protocol):
    """One thing that can be set."""

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
        lossless: bool = True,
    ) -> Choice:
        """One choice; ``unless`` is the reason it cannot exist here, if there is one."""
        return Choice(
            lever=self.lever,
            id=id,
            what=what,
            unavailable=unless,
            baseline=baseline,
            lossless=lossless,
        )
