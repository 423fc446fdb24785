"""The noise of a model: what two exact implementations of it differ by, measured once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from autotune.errors import AutotuneError
from autotune.files import cache_folder, canonical_json, digest, write_atomic
from autotune.records import Candidate, Choice, Fidelity, Likeness
from autotune.search.admission import Admission
from autotune.search.request import Request
from autotune.search.runner import Runner
from autotune.stored import read_stored

#: What computes the same in another order, the nearest to a kernel of one's own first. torch's
#: fast kernels are none: on a processor the plain choice takes one of them.
_OTHERS = (("attention", "native-math"), ("attention-slicing", "max"), ("batch", "x2"))
#: More than what is said of 64 frames takes.
_CAP_BYTES = 1 << 20


def find_noise(
    runner: Runner, admission: Admission, offered: Sequence[Choice], baseline: Candidate
) -> int:
    """Tell the runner's gate how far an exact implementation lies from the baseline.

    Nothing is done where no picture can be refused, and no trial is run where it is known.

    Returns:
        How many trials were run.
    """
    ran = 0
    if not runner.gate.refuses:
        return ran
    for other in _exact(admission, offered, baseline):
        place = _place(runner.request, baseline, other)
        likeness = _read(place)
        if likeness is None and not runner.time_is_up:
            ran += 1
            likeness = runner.noise(other).outcome.likeness
            if likeness is not None and place is not None:
                write_atomic(place, likeness.model_dump_json().encode(), overwrite=True)
        runner.gate.noise = likeness
        if likeness is not None:
            break
    return ran


def _exact(
    admission: Admission, offered: Sequence[Choice], baseline: Candidate
) -> Iterator[Candidate]:
    """What may run here and computes what the baseline does."""
    able = {
        (one.lever, one.id)
        for one in offered
        if one.unavailable is None and one.fidelity is Fidelity.EXACT
    }
    for lever, id in _OTHERS:
        if (lever, id) in able and baseline.get(lever) not in (None, id):
            candidate = {**baseline, lever: id}
            if admission.rule(candidate) is None:
                yield candidate


def _place(request: Request, baseline: Candidate, other: Candidate) -> Path | None:
    """Where it is kept from study to study; ``None`` without a cache folder."""
    model = request.model
    decides = {
        "model": [model.id, model.revision],
        "workload": model.workload.model_dump(mode="json"),
        "baseline": dict(baseline),
        "other": dict(other),
        "machine": request.fingerprint.model_dump(mode="json"),
    }
    name = digest(canonical_json(decides)).removeprefix("sha256:")
    try:
        return cache_folder("noise") / f"{name}.json"
    except AutotuneError:
        return None


def _read(place: Path | None) -> Likeness | None:
    if place is None or not place.exists():
        return None
    try:
        return read_stored(place, Likeness, cap_bytes=_CAP_BYTES)
    except AutotuneError:
        return None  # it is measured again
