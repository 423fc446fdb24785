"""What was counted and asked once is kept on the disk: by model, workload and versions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import autotune
from autotune.errors import AutotuneError
from autotune.estimate.profile import Profile, read_profile, write_profile
from autotune.files import cache_folder, canonical_json, write_atomic
from autotune.records import Device, Inspection, Model, Record
from autotune.stored import read_stored

Kept = TypeVar("Kept", bound=Record)

_TRUST = "DIFFUSERS_TRUST_REMOTE_KERNELS"
#: A few hundred choices with a sentence each.
_CAP_BYTES = 1 << 20
#: What decides which operations a pipeline makes, and what its quantizers leave alone.
_PACKAGES = ("torch", "diffusers", "transformers", "bitsandbytes", "torchao", "sdnq")


def kept_profile(model: Model) -> Profile | None:
    """What was counted of this model with this workload and these packages, if it was."""
    try:
        return read_profile(_path(model))
    except AutotuneError:
        return None  # there is none, or one that cannot be read: it will be counted anew


def keep_profile(model: Model, profile: Profile) -> None:
    """Keep what was counted; what could not be is tried again next time."""
    if profile.uncounted is not None:
        return
    try:
        write_profile(_path(model), profile)
    except AutotuneError:
        pass  # without a place to keep it, it is counted each time


def kept_choices(model: Model, device: Device, software: Mapping[str, str]) -> Inspection | None:
    """What the levers said of this model on this device with these packages, if it was kept."""
    return _read(lambda: _choices_path(model, device, software), Inspection)


def keep_choices(
    model: Model, device: Device, software: Mapping[str, str], found: Inspection
) -> None:
    """Keep what the levers said. Studies ask anew: a device can change while its name does not."""
    _write(lambda: _choices_path(model, device, software), found)


def kept_answer(question: Mapping[str, object], kind: type[Kept]) -> Kept | None:
    """What was answered to a question whose every fact is the same, if it was kept."""
    return _read(lambda: _answer_path(question), kind)


def keep_answer(question: Mapping[str, object], answer: Record) -> None:
    """Keep an answer that took a search."""
    _write(lambda: _answer_path(question), answer)


def digest_of(*facts: object) -> str:
    """A short name for what decides a result, with the versions of all that takes part."""
    versions = {name: _version(name) for name in _PACKAGES}
    known = canonical_json([autotune.__version__, versions, *facts])
    return hashlib.sha256(known).hexdigest()[:32]


def described(model: Model) -> dict[str, object]:
    """A model without where it lies: that may be two places, and a path may name a person."""
    return model.but(folder="", given=()).model_dump(mode="json")


def _read(place: Callable[[], Path], kind: type[Kept]) -> Kept | None:
    try:
        return read_stored(place(), kind, cap_bytes=_CAP_BYTES)
    except AutotuneError:
        return None


def _write(place: Callable[[], Path], record: Record) -> None:
    try:
        write_atomic(place(), record.model_dump_json().encode(), overwrite=True)
    except AutotuneError:
        pass  # without a place to keep it, it is asked each time


def _path(model: Model) -> Path:
    return cache_folder("profiles") / f"{digest_of(described(model))}.json"


def _choices_path(model: Model, device: Device, software: Mapping[str, str]) -> Path:
    card = [device.kind, device.name, device.uuid, device.compute_capability, device.total_bytes]
    # What the owner of the machine allows decides about kernels from the hub.
    trust = os.environ.get(_TRUST)
    facts = (described(model), card, dict(software), trust)
    return cache_folder("choices") / f"{digest_of(*facts)}.json"


def _answer_path(question: Mapping[str, object]) -> Path:
    # An estimator that was mended gives other answers, whatever its version says.
    files = Path(autotune.__file__).parent.rglob("*.[pt][yo]*")
    newest = max(file.stat().st_mtime_ns for file in files)
    return cache_folder("answers") / f"{digest_of(newest, dict(question))}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
