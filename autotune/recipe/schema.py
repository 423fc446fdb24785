"""The recipe, version 1: plain data, nothing that names code, a path, a person or a secret.

Bounds of single values stand here; what one value says of another stands in `claims`.

History: 1 is the first format.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from autotune.objective import PATTERN, Objective, parse_objective
from autotune.records import Effort, Evidence, Fidelity, Fingerprint, Likeness, Record, Workload
from autotune.stats.compare import Compared, Verdict, compare
from autotune.status import Status

FORMAT: Final = 1
KIND: Final = "autotune-recipe"

#: A generation takes longer than nothing, and less than the 30 days that ``--time`` may be.
Latency = Annotated[float, Field(gt=0, le=30 * 24 * 3600)]
#: A duration that may be too short to see.
Duration = Annotated[float, Field(ge=0, le=30 * 24 * 3600)]
#: At most a pebibyte: no device, and no host, holds more.
Bytes = Annotated[int, Field(ge=0, le=2**50)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]

#: Names that could be those of levers and choices: too narrow for code, a path or a URL.
LeverName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
ChoiceId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}$")]
Choices = Annotated[Mapping[LeverName, ChoiceId], Field(max_length=64)]
#: A name on the hub, or that of a folder without the folders above it.
ModelId = Annotated[str, StringConstraints(pattern=r"^[\w@+ .-]{1,96}(/[\w.-]{1,96})?$")]
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:+-]{1,80}$")]

#: One list of samples for each fresh process. 32 are four times what rule M6 asks for.
Samples = Annotated[tuple[Latency, ...], Field(min_length=1, max_length=1000)]
Processes = Annotated[tuple[Samples, ...], Field(min_length=1, max_length=32)]
#: Enough to explain, few enough for the file to stay under its cap.
MOST_LISTED: Final = 200


class RecipeGiven(Record):
    """A file that was given for a component, by its content: it says nowhere where it lies."""

    component: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
    kind: Literal["gguf", "svdquant", "bfl", "auto-round", "tiny-vae"]
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class RecipeModel(Record):
    """Which weights the numbers belong to.

    A recipe is checked against a model; it never picks one. ``given`` are the files that its
    choices were made of, in place of weights of the model.
    """

    id: ModelId
    revision: Revision
    source: Literal["demo", "hub", "folder"]
    pipeline: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
    weights: Literal["real", "random"]
    given: Annotated[tuple[RecipeGiven, ...], Field(max_length=16)] = ()


class Budget(Record):
    """The bytes that were allowed, as asked for and as understood."""

    asked: str
    bytes: Annotated[Bytes, Field(ge=1)]
    emulated: bool


class Measured(Record):
    """One candidate's raw samples, one list per fresh process, and what they say.

    ``latency_s`` is the median of the processes' medians. ``firsts_s`` and ``loads_s`` are what
    the first image and loading took in each, ``first_s`` and ``load_s`` their medians: what an
    earlier process compiled or quantized was at hand, unless the objective counts it.
    ``phases_bytes`` are parts of ``peak_bytes``; ``binds`` says what decides it, as
    ``transformer during denoise``.
    ``host_bytes`` is the peak of host memory beside an accelerator. ``discarded`` samples were
    made again since something disturbed them; ``disturbed`` processes kept some all the same.
    """

    choices: Choices
    processes_s: Processes
    latency_s: Latency
    first_s: Duration | None
    load_s: Duration | None
    firsts_s: Annotated[tuple[Latency, ...], Field(max_length=32)] = ()
    loads_s: Annotated[tuple[Duration, ...], Field(max_length=32)] = ()
    peak_bytes: Bytes
    phases_bytes: Mapping[str, Bytes]
    host_bytes: Bytes | None = None
    binds: str | None
    discarded: Annotated[int, Field(ge=0, le=1_000)] = 0
    disturbed: Annotated[int, Field(ge=0, le=32)] = 0
    engaged: Mapping[str, Evidence]

    def times_s(self, objective: Objective) -> Sequence[Sequence[float]]:
        """The times that count, one list for each process of which they are known."""
        if not objective.counts_start:
            return self.processes_s
        steady_s = [statistics.median(process) for process in self.processes_s]
        starts = itertools.zip_longest(steady_s, self.firsts_s, self.loads_s)
        found = [objective.seconds(*one) for one in starts]
        return [(one,) for one in found if one is not None]

    def seconds(self, objective: Objective) -> float:
        """The time that counts: the median of the processes' medians."""
        return statistics.median(map(statistics.median, self.times_s(objective)))


class Comparison(Record):
    """The verdict on winner against baseline; every number follows from the raw samples."""

    verdict: Verdict
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    why: str


class Quality(Record):
    """What was checked of the output.

    ``likeness`` is that of the winner's pictures to the baseline's, in the process in which it was
    least; it is judged by what was ``asked``. ``noise`` is the likeness of the pictures that an
    exact implementation made. With random weights they are told and nothing is judged.
    """

    health: Literal["passed"]
    fidelity: Literal["assessed", "not assessed"]
    why: str
    asked: Fidelity | None = None
    likeness: Likeness | None = None
    noise: Likeness | None = None


class Bought(Record):
    """What happened when a lever of the winner was put back, alone, in one trial.

    ``samples_s`` and ``peak_bytes`` are those without it, ``beside_s`` and ``beside_bytes`` those
    of the winner in the same kind of trial. Without them ``status`` and ``why`` say how it ended.
    """

    lever: LeverName
    choice: ChoiceId
    status: Status
    samples_s: Samples | None = None
    beside_s: Latency | None = None
    peak_bytes: Bytes | None = None
    beside_bytes: Bytes | None = None
    why: str | None = None

    @property
    def ratio(self) -> float | None:
        """The time without it over the time with it."""
        if self.samples_s is None or self.beside_s is None:
            return None
        return statistics.median(self.samples_s) / self.beside_s

    @property
    def saved_bytes(self) -> int | None:
        """By how much the peak without it was higher."""
        if self.peak_bytes is None or self.beside_bytes is None:
            return None
        return self.peak_bytes - self.beside_bytes


class Against(Record):
    """A setup that somebody advises, beside the recipe: in turns, in fresh processes.

    ``choices`` are what it changes of the baseline, ``verdict`` is the recipe's. Without samples
    ``why`` says why it did not run.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[\w .,+-]{1,64}$")]
    choices: Choices
    source: str
    verdict: Verdict
    ours_s: Processes | None = None
    theirs_s: Processes | None = None
    peak_bytes: Bytes | None = None
    why: str

    @property
    def compared(self) -> Compared | None:
        """What the samples say of the recipe."""
        if self.ours_s is None or self.theirs_s is None:
            return None
        return compare(self.ours_s, self.theirs_s)


class BreakEven(Record):
    """After how many images a winner that has to start up has paid for it (rule M5).

    ``first_s`` and ``steady_s`` are the winner's, with nothing compiled beforehand; ``choices``,
    ``beside_first_s`` and ``beside_s`` those of the fastest that needs no such start. All are from
    single trials of the search.
    """

    first_s: Duration
    steady_s: Latency
    choices: Choices
    beside_first_s: Duration
    beside_s: Latency

    @property
    def images(self) -> int | None:
        """From which image on the winner has taken less time; ``None`` if it never does."""
        gained_s = self.beside_s - self.steady_s
        if gained_s <= 0:
            return None
        return 1 + max(0, math.ceil((self.first_s - self.beside_first_s) / gained_s))


class EvidenceBlock(Record):
    """Everything that backs the choices."""

    winner: Measured
    baseline: Measured | None
    comparison: Comparison
    quality: Quality
    effort: Effort
    against: Annotated[tuple[Against, ...], Field(max_length=16)] = ()
    bought: Annotated[tuple[Bought, ...], Field(max_length=64)] = ()
    break_even: BreakEven | None = None
    trials: Count
    seconds: Duration


class Refused(Record):
    """A candidate that looked faster, or was asked for, and what ruled it out."""

    choices: Choices
    status: Status
    reason: str
    latency_s: Latency | None = None
    peak_bytes: Bytes | None = None


class FrontierPoint(Record):
    """The fastest candidate seen whose peak is at most ``peak_bytes``."""

    peak_bytes: Bytes
    latency_s: Latency
    choices: Choices


class Recipe(Record):
    """The fastest setup that fits, with its evidence.

    ``modified`` says that the file was changed after it was written, and accepted all the
    same: its choices need not be those that were measured.
    """

    format: Literal[1] = FORMAT
    kind: Literal["autotune-recipe"] = KIND
    writer: Annotated[str, StringConstraints(pattern=r"^[\w .+-]{1,80}$")]
    status: Literal["confirmed", "provisional"]
    modified: bool = False
    model: RecipeModel
    workload: Workload
    budget: Budget
    objective: Annotated[str, StringConstraints(pattern=PATTERN)] = "steady"
    choices: Choices
    evidence: EvidenceBlock
    refused: Annotated[tuple[Refused, ...], Field(max_length=MOST_LISTED)] = ()
    frontier: Annotated[tuple[FrontierPoint, ...], Field(max_length=MOST_LISTED)] = ()
    fingerprint: Fingerprint

    @property
    def aim(self) -> Objective:
        """What was made as small as possible."""
        return parse_objective(self.objective)
