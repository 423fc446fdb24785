"""What may choose the candidates of a study, by name: ours, Optuna's, or any like it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import random
from collections.abc import Iterator, Sequence

from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from autotune.errors import BadInput, one_line, shorten
from autotune.records import Candidate
from autotune.search.pool import Expected, Foresee, Settings
from autotune.search.proposals import LISTABLE, Proposals
from autotune.search.request import NAMES
from autotune.search.sampler import LISTED, ShortlistSampler
from autotune.search.space import Space, every

#: How much of a study's trials are starts, and how many they are at the least and at the most: ten
#: were best for an estimator that is a third off, three for one that is a tenth off.
_STARTS_SHARE, _FEWEST_STARTS, _MOST_STARTS = 0.4, 3, 10
#: Nor more than for every second choice beside the baseline's: with few there is little to learn
#: (of two recorded spaces with seven and eight, near the best after two thirds of the seconds).
_CHOICES_A_START = 2
#: What decides about a compiled graph beside how it is compiled.
_GRAPH = ("dtype", "quantize-denoiser", "attention")


def check_sampler(name: str) -> None:
    """Refuse a sampler that there is not, before anything takes time.

    Raises:
        BadInput: Naming what there is.
    """
    if name == "gp" and importlib.util.find_spec("scipy") is None:
        raise BadInput(
            "the sampler gp needs scipy, which is not installed", hint="pip install scipy"
        )
    if name not in NAMES:
        _constructed(name, seed=0)


def make_proposals(
    space: Space,
    expect: Foresee,
    *,
    sampler: str,
    budget_bytes: int,
    trials: int,
    seed: int,
    given: Sequence[Settings] = (),
    first: Sequence[Candidate] = (),
    exhaustive: bool = False,
    listed: int = LISTED,
    all_: Sequence[Candidate] | None = None,
) -> Proposals:
    """What a search is to try, one after the other.

    Args:
        space: What can be chosen.
        expect: What is foreseen of a candidate, ``None`` if it may not be tried.
        sampler: One of `NAMES`, or ``module:Class``.
        budget_bytes: What has to be kept.
        trials: How many there will be.
        seed: Of all that is drawn.
        given: What ``shortlist`` starts from.
        first: What any sampler starts from, unless everything is listed anyway.
        exhaustive: Every candidate that may be tried, the fastest by what is foreseen first.
        listed: Up to which size ``shortlist`` lists the space.
        all_: Every candidate there is, where they are known.

    Raises:
        BadInput: If there is no such sampler, or the space is too large to be listed.
    """

    def expected(candidate: Candidate) -> Expected | None:
        return expect({lever: candidate[lever] for lever in space.open_levers})

    order: list[Candidate] | None = None
    if exhaustive or sampler == "grid":
        found = [(one, expected(one)) for one in all_ or _every(space)]
        timed = [(one, of.latency_s or 0.0) for one, of in found if of is not None]
        if exhaustive:
            timed.sort(key=lambda pair: pair[1])
        else:
            random.Random(seed).shuffle(timed)
        order = [one for one, _ in timed]
    return Proposals(
        space,
        _make_sampler(sampler, space, expect, given, budget_bytes, trials, seed, listed),
        label="listed" if exhaustive else sampler,
        first=first if order is None else (),
        listed=order,
        admitted=lambda candidate: expected(candidate) is not None,
        all_=all_,
        seed=seed,
    )


def _every(space: Space) -> Iterator[Candidate]:
    if space.size > LISTABLE:
        raise BadInput(
            f"the space has {space.size:,} candidates: too many to try each",
            hint=f"leave levers alone with --set until they are {LISTABLE:,} at the most",
        )
    return every(space)


def _make_sampler(
    name: str,
    space: Space,
    expect: Foresee,
    given: Sequence[Settings],
    budget_bytes: int,
    trials: int,
    seed: int,
    listed: int,
) -> BaseSampler:
    if name == "shortlist":
        return ShortlistSampler(
            space.open_levers,
            baseline=space.baseline,
            foresee=expect,
            given=given,
            budget_bytes=budget_bytes,
            starts=_starts(space, trials),
            trials=trials,
            prepares=prepares,
            seed=seed,
            listed=listed,
        )
    if name == "tpe":
        return TPESampler(seed=seed, multivariate=True)
    if name == "gp":
        from optuna.samplers import GPSampler  # with torch and scipy

        return GPSampler(seed=seed)
    if name in NAMES:  # a grid is listed, and asks no sampler
        return RandomSampler(seed=seed)
    return _constructed(name, seed)


def _starts(space: Space, trials: int) -> int:
    choices = sum(len(ids) - 1 for ids in space.open_levers.values())
    most = min(_MOST_STARTS, choices // _CHOICES_A_START)
    return max(_FEWEST_STARTS, min(round(trials * _STARTS_SHARE), most))


def prepares(candidate: Settings) -> tuple[str, ...]:
    """What a candidate needs prepared: quantized weights, which trials keep for each other, and
    a compiled graph, of which they keep the kernels."""
    found = [
        f"{lever}={id} {candidate.get('dtype')}"
        for lever, id in candidate.items()
        if lever.startswith("quantize-") and id != "none"
    ]
    if candidate.get("compile", "none") != "none":
        found.append(" ".join(str(candidate.get(lever)) for lever in ("compile", *_GRAPH)))
    return tuple(found)


def _constructed(name: str, seed: int) -> BaseSampler:
    """A sampler by ``module:Class``, with the seed if it takes one."""
    kind = _imported(name)
    try:
        arguments = {"seed": seed} if "seed" in inspect.signature(kind).parameters else {}
        return kind(**arguments)
    except Exception as error:  # whatever it raises that wants to be told more
        raise BadInput(
            f"the sampler {shorten(name)} cannot be made without arguments: "
            f"{one_line(f'{type(error).__name__}: {error}')}",
            hint="name a class of your own that knows what it needs",
        ) from None


def _imported(name: str) -> type[BaseSampler]:
    """The class that a ``module:Class`` names."""
    module, _, kind = name.partition(":")
    hint = f"one of {', '.join(NAMES)}, or module:Class of an importable sampler"
    if not (module and kind):
        raise BadInput(f"there is no sampler {shorten(name)}", hint=hint)
    try:
        found = getattr(importlib.import_module(module), kind)
    except Exception as error:  # whatever a module of the user's raises
        why = one_line(f"{type(error).__name__}: {error}")
        what = f"the sampler {shorten(name)} cannot be imported: {why}"
        raise BadInput(what, hint=hint) from None
    if not (isinstance(found, type) and issubclass(found, BaseSampler)):
        raise BadInput(f"{shorten(name)} is no sampler of Optuna's kind", hint=hint)
    return found
