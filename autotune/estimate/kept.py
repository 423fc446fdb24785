"""Profiles that were counted once are kept on the disk: by model, workload and versions."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import autotune
from autotune.errors import AutotuneError
from autotune.estimate.profile import Profile, read_profile, write_profile
from autotune.files import cache_folder, canonical_json
from autotune.records import Model

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


def digest_of(*facts: object) -> str:
    """A short name for what decides a result, with the versions of all that takes part."""
    versions = {name: _version(name) for name in _PACKAGES}
    known = canonical_json([autotune.__version__, versions, *facts])
    return hashlib.sha256(known).hexdigest()[:32]


def _path(model: Model) -> Path:
    # Not where it lies: the same model may lie in two places, and the path may name a person.
    described = model.but(folder="", given=()).model_dump(mode="json")
    return cache_folder("profiles") / f"{digest_of(described)}.json"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
