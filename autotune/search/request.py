"""What a study is asked to do: checked once, then only read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from autotune.errors import BadInput, shorten
from autotune.objective import STEADY, Objective
from autotune.records import Candidate, Device, Effort, Fidelity, Fingerprint, Machine, Model
from autotune.search.definition import Definition

if TYPE_CHECKING:
    from autotune.recipe.schema import Recipe
    from autotune.search.study_folder import StudyFolder

#: Half of the 20 to 40 minutes users will pay on a GPU (numbers.md F4), one minute on the demo.
DEFAULT_TRIALS = 12
SIZE = Effort(name="size", warmups=1, samples=1)
#: As many pictures as are compared.
NOISE = Effort(name="noise", warmups=1, samples=3)

#: The samplers that are offered, with what each does.
NAMES: Mapping[str, str] = {
    "shortlist": "from what is foreseen, then one lever at a time around the best",
    "tpe": "Optuna's, multivariate, which knows no predictions",
    "gp": "Optuna's Gaussian process, which needs scipy",
    "random": "by lot",
    "grid": "every candidate, in an order by lot",
}


@dataclass(frozen=True, kw_only=True)
class Efforts:
    """How much is measured in a trial of the search, and in each of ``pairs`` that confirm.

    Of those that are nearly as fast as the fastest, so many ``finalists`` run off.
    """

    screen: Effort
    confirm: Effort
    pairs: int
    finalists: int

    @property
    def name(self) -> str:
        """What it is called, in recipes too."""
        return self.confirm.name


def _efforts(
    name: str,
    *,
    warmups: int,
    screen: int,
    confirm: int,
    pairs: int,
    finalists: int,
    least_s: float | None = None,
) -> Efforts:
    return Efforts(
        screen=Effort(name=name, warmups=warmups, samples=screen, least_s=least_s),
        confirm=Effort(name=name, warmups=warmups, samples=confirm),
        pairs=pairs,
        finalists=finalists,
    )


#: What is compiled is called once more to warm up, at any effort (M4).
EFFORTS: Mapping[str, Efforts] = {
    one.name: one
    for one in (
        # Below M4 and M6, and a caution says so. Four pairs all the same: four processes a side
        # are the fewest whose exact rank test can reach p < 0.05 (2 of 70).
        _efforts("quick", warmups=1, screen=1, confirm=1, pairs=4, finalists=1),
        # Two calls to warm up (M4), eight samples a side in at least three processes (M6).
        _efforts("standard", warmups=2, screen=3, confirm=2, pairs=4, finalists=3),
        # Also what M6 asks of the search, three samples and ten seconds, and a median that one
        # slow sample does not move. Eight pairs find two thirds of the effect that four find: of
        # 200 gains of five per cent under two per cent of noise 190, not 130.
        _efforts("thorough", warmups=3, screen=3, confirm=3, pairs=8, finalists=5, least_s=10.0),
    )
}
STANDARD = EFFORTS["standard"]


def efforts_for(name: str, objective: Objective) -> Efforts:
    """The effort of that name, for an objective.

    Raises:
        BadInput: If there is none.
    """
    found = EFFORTS.get(name)
    if found is None:
        raise BadInput(f"there is no effort {shorten(name)}", hint=", ".join(EFFORTS))
    if not objective.counts_start:
        return found
    # The last call to warm up is watched, which takes time: a first one that counts is not.
    screen, confirm = (
        one.but(warmups=max(2, one.warmups)) for one in (found.screen, found.confirm)
    )
    return replace(found, screen=screen, confirm=confirm)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything a study needs; ``model.workload`` is what will be generated."""

    model: Model
    machine: Machine
    device: Device
    fingerprint: Fingerprint
    #: As it was asked for, if it was; then in words, and in bytes.
    vram: str | None = None
    budget_asked: str
    budget_bytes: int
    emulated: bool
    definition: Definition
    quality: Fidelity
    ram_bytes: int | None
    pins: Mapping[str, str]
    trials: int
    time_s: float | None
    seed: int
    folder: Path
    recipe_path: Path
    overwrite: bool
    sampler: str = "shortlist"
    exhaustive: bool = False
    objective: Objective = STEADY
    efforts: Efforts = STANDARD
    record: Path | None = None
    against: str | None = None
    #: What recipes of near machines chose: tried first, as far as it can be had here.
    starts: tuple[Candidate, ...] = ()
    #: What the user should know before the first trial.
    said: tuple[str, ...] = ()
    #: The hold on the folder, where it has one.
    opened: StudyFolder | None = None
    #: What an earlier study has answered, and where that lies.
    answer: Recipe | None = None
    answer_path: Path | None = None
