"""What a process of ours is told when it is started: no secret, and where the package lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from autotune.errors import holds_secret

#: What the names of secrets hold, whoever they belong to.
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


def without_secrets(caller: Mapping[str, str]) -> dict[str, str]:
    """The variables that are no secret, neither by their names nor by what they hold."""
    return {
        name: value
        for name, value in caller.items()
        if not any(word in name.upper() for word in _SECRET_WORDS) and not holds_secret(value)
    }


def own_environment(caller: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that runs a module of this package and needs no login."""
    kept = without_secrets(caller)
    package = Path(__file__).resolve().parent.parent
    if package.name not in ("site-packages", "dist-packages"):  # a checkout that is not installed
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(package), kept.get("PYTHONPATH")]))
    # A file in the current folder must not take the place of a library.
    return kept | {"PYTHONSAFEPATH": "1"}
