"""The frozen records that travel between the layers, and as JSON between processes.

They are never changed. What could not be read is ``None``, with its reason under ``unknown``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from autotune.status import Status

#: Changes whenever a rule of measuring changes; results of different versions are never compared.
PROTOCOL_VERSION = 1


class Record(BaseModel):
    """A frozen, strict record: unknown keys, wrong types, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def but(self, **changes: object) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self).model_validate({**dict(self), **changes})


# ------------------------------------------------------------------------------- the machine

DeviceKind = Literal["cuda", "rocm", "xpu", "mps", "cpu"]


class Neighbour(Record):
    """Another process on a device; ``used_bytes`` is unknown inside most containers."""

    pid: int
    used_bytes: int | None


class Device(Record):
    """What trials run on, keyed by ``uuid``, never by index."""

    kind: DeviceKind
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    reserved_bytes: int | None = None
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    power_limit_w: float | None = None
    ecc: bool | None = None
    mig: bool | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    neighbours: tuple[Neighbour, ...] | None = None
    unknown: Mapping[str, str] = {}


class Host(Record):
    """The machine around the device."""

    os: str
    arch: str
    cpu_name: str | None
    cpu_features: tuple[str, ...] = ()
    logical_cores: int
    usable_cores: int
    ram_total_bytes: int
    ram_available_bytes: int
    ram_limit_bytes: int | None
    swap_total_bytes: int | None
    disk_free_bytes: int | None
    load_1m: float | None
    unknown: Mapping[str, str] = {}

    @property
    def most_bytes(self) -> int:
        """What all processes together can hold: the container's limit, or memory and swap."""
        return self.ram_limit_bytes or self.ram_total_bytes + (self.swap_total_bytes or 0)


class Machine(Record):
    """Everything the probe saw. ``devices`` always ends with the CPU."""

    host: Host
    devices: tuple[Device, ...]
    software: Mapping[str, str]
    unknown: Mapping[str, str] = {}


class Fingerprint(Record):
    """What must match for two numbers to be comparable. Holds nothing that names a person."""

    device: Mapping[str, str | int | float | bool | None]
    host: Mapping[str, str | int | float | bool | None]
    software: Mapping[str, str]
    protocol: int = PROTOCOL_VERSION


# --------------------------------------------------------------------------------- the model


class Workload(Record):
    """What is generated: the same for every candidate of a study."""

    prompts: tuple[str, ...] = ("a red circle on a blue background",)
    height: int = 1024
    width: int = 1024
    frames: int | None = None
    steps: int = 28
    guidance: float | None = None
    batch: int = 1
    seed: int = 0
    max_sequence_length: int | None = None


class Component(Record):
    """One part of a pipeline as it lies on disk."""

    name: str
    library: str
    class_name: str
    weight_bytes: int = 0
    parameters: int = 0
    dtype: str | None = None


class Given(Record):
    """What the user gave for a component, which takes at least ``weight_bytes`` once loaded."""

    component: str
    kind: Literal["gguf", "svdquant", "bfl", "auto-round", "tiny-vae"]
    path: str
    digest: str
    weight_bytes: int
    formats: tuple[str, ...]


class Model(Record):
    """A pinned model: a folder on this machine whose content is fixed by ``revision``."""

    id: str
    revision: str
    source: Literal["demo", "hub", "folder"]
    folder: str
    pipeline: str
    family: str | None
    weights: Literal["real", "random"]
    denoiser: str
    components: tuple[Component, ...]
    workload: Workload
    given: tuple[Given, ...] = ()

    @property
    def denoisers(self) -> tuple[str, ...]:
        """The denoiser and its twins of the same class (Wan 2.2 has a second transformer)."""
        kind = own.class_name if (own := self.component(self.denoiser)) else None
        twins = (part.name for part in self.components if part.class_name == kind)
        return (self.denoiser, *(name for name in twins if name != self.denoiser))

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The text encoders, the largest first."""
        parts = sorted(self.components, key=lambda part: (-part.weight_bytes, part.name))
        return tuple(part.name for part in parts if part.name.startswith("text_encoder"))

    def component(self, name: str) -> Component | None:
        """The component of that name, if the model has it."""
        return next((part for part in self.components if part.name == name), None)

    def given_as(self, kind: str) -> tuple[Given, ...]:
        """What the user gave of that kind."""
        return tuple(one for one in self.given if one.kind == kind)


# ---------------------------------------------------------------------------- levers, choices


class Stage(StrEnum):
    """When a lever is applied, in this order."""

    LOAD = "load"
    BUILD = "build"
    WRAP = "wrap"
    PLACE = "place"
    COMPILE = "compile"
    CALL = "call"


class Fidelity(StrEnum):
    """How much a choice changes pictures: the strictest ``--quality`` that still tries it."""

    EXACT = "exact"
    CLOSE = "close"
    BALANCED = "balanced"
    ANY = "any"

    def allows(self, other: Fidelity) -> bool:
        """Whether a study of this quality tries a choice of that fidelity."""
        return list(Fidelity).index(other) <= list(Fidelity).index(self)

    @property
    def sentence(self) -> str:
        """What it means for the picture."""
        return _FIDELITIES[self]


_FIDELITIES = {
    Fidelity.EXACT: "the same picture, up to rounding",
    Fidelity.CLOSE: "the same picture to the eye",
    Fidelity.BALANCED: "small changes that most people accept",
    Fidelity.ANY: "visible changes",
}


class Choice(Record):
    """One value of a lever, on this device and for this model."""

    lever: str
    id: str
    what: str
    unavailable: str | None = None
    needs: tuple[str, ...] = ()
    baseline: bool = False
    fidelity: Fidelity = Fidelity.EXACT


class Evidence(Record):
    """Proof that a choice took effect, or why it is believed not to have."""

    engaged: bool
    detail: str


Candidate = Mapping[str, str]


def candidate_key(choices: Candidate) -> str:
    """A canonical name for a candidate: equal exactly when the choices are equal."""
    return " ".join(f"{lever}={choices[lever]}" for lever in sorted(choices))


class Effort(Record):
    """How much is measured in one trial; of so few ``steps``, what the others take is reckoned.

    Sampling goes on for ``least_s`` seconds, where so many ``samples`` take less.
    """

    name: str = "screen"
    protocol: int = PROTOCOL_VERSION
    warmups: int = 2
    samples: int = 3
    least_s: float | None = None
    steps: int | None = None


class TrialSpec(Record):
    """Everything a child process needs to run one candidate."""

    format: Literal[1] = 1
    trial: str
    purpose: Literal["baseline", "noise", "screen", "run-off", "confirm", "size", "verify"]
    model: Model
    choices: Mapping[str, str]
    workload: Workload
    device: Device
    effort: Effort
    budget_bytes: int | None
    deadline_s: float
    silence_s: float | None = None  # the longest without a word of where it is
    #: Stop sampling once a timed generation took longer than this: it can no longer win.
    give_up_above_s: float | None = None
    threads: int | None = None
    #: Host memory the trial may take, where the device is not the host.
    ram_bytes: int | None = None
    #: Where this study keeps what is expensive to make and the same for many candidates.
    prepared: str | None = None
    #: Where the baseline's pictures lie, or will: others are compared with them.
    reference: str | None = None


class Memory(Record):
    """Bytes, above the level before load. The budget is judged on ``peak_bytes``."""

    level_bytes: int
    peak_bytes: int
    phases: Mapping[str, int]
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    device_bytes: int | None = None
    #: On a device that is not the host: the peak of resident host memory, and pages pinned in it.
    host_bytes: int | None = None
    pinned_bytes: int | None = None
    how: str


class Inspection(Record):
    """What each lever says it can do here, asked where torch and diffusers are imported."""

    choices: tuple[Choice, ...]


class Health(Record):
    """What the generated output looks like to simple rules."""

    finite: bool
    deviation: float
    differs_by_seed: bool | None
    picture: str | None = None


class Scores(Record):
    """How far one picture, or one frame of a video, is from the reference's.

    ``psnr_db`` and ``ssim`` are higher for pictures that are more alike, ``flip`` and ``lpips``
    lower. PSNR is ``None`` where the pictures are identical, LPIPS where it is not installed.
    """

    picture: Annotated[int, Field(ge=0)]
    frame: Annotated[int, Field(ge=0)] | None = None
    psnr_db: Annotated[float, Field(ge=0)] | None
    ssim: Annotated[float, Field(ge=-1, le=1)]
    flip: Annotated[float, Field(ge=0, le=1)]
    lpips: Annotated[float, Field(ge=0)] | None = None


class Likeness(Record):
    """How like the reference's the pictures of a trial are, each of them: `quality` judges it."""

    scores: Annotated[tuple[Scores, ...], Field(min_length=1, max_length=128)]


class InspectSpec(Record):
    """What a child needs to ask every lever for its choices; if counted, what the model does."""

    model: Model
    device: Device
    counted: bool = True


class Discarded(Record):
    """A timed generation that was made again, since an instrument saw what spoilt it (M10)."""

    seconds: float
    why: str


class Filmed(Record):
    """What the film of the card showed while a trial ran; what it did not show is ``None``.

    Of the part that was timed: the median clock under load, the highest temperature, and for what
    share of it each reason for a clock held. ``held_bytes`` were not given back in time.
    """

    frames: int
    level_bytes: int | None
    peak_bytes: int | None
    held_bytes: int = 0
    sm_clock_mhz: int | None = None
    temperature_c: int | None = None
    reasons: Mapping[str, float] = {}
    slowed_down: str | None = None


class Outcome(Record):
    """What comes out of a trial. Raw samples are kept unrounded.

    ``disturbed`` says what spoilt those that are kept, where making them again did not help.
    """

    format: Literal[1] = 1
    trial: str
    status: Status
    stage: str
    message: str = ""
    load_s: float | None = None
    first_s: float | None = None
    warmups_s: tuple[float, ...] = ()
    samples_s: tuple[float, ...] = ()
    #: What the steps would have taken that each sample left out, reckoned from those it had.
    left_out_s: float = 0.0
    discarded: tuple[Discarded, ...] = ()
    disturbed: str | None = None
    forwards_s: tuple[float, ...] = ()
    phases_s: Mapping[str, float] = {}
    memory: Memory | None = None
    filmed: Filmed | None = None
    weights: Mapping[str, int] = {}
    health: Health | None = None
    likeness: Likeness | None = None
    engaged: Mapping[str, Evidence] = {}
    protocol: int = PROTOCOL_VERSION
    seconds: float = 0.0
