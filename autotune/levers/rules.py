"""Which choices exclude each other: one table, symmetric by construction.

A row forbids every candidate that holds all its ``choices``, on the devices and families it
names (all, if it names none), while the package stands in the version range. ``cite`` is where
the behaviour was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.records import Candidate, DeviceKind


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One combination that does not work, and why."""

    id: str
    choices: Mapping[str, frozenset[str]]
    reason: str
    cite: str
    families: frozenset[str] = frozenset()
    devices: frozenset[DeviceKind] = frozenset()
    package: str | None = None
    versions: str = ""

    def forbids(
        self,
        candidate: Candidate,
        *,
        device: DeviceKind,
        family: str | None,
        software: Mapping[str, str],
    ) -> bool:
        """Whether the row excludes the candidate here."""
        return (
            all(candidate.get(lever) in ids for lever, ids in self.choices.items())
            and (not self.families or family in self.families)
            and (not self.devices or device in self.devices)
            and self._in_range(software)
        )

    def _in_range(self, software: Mapping[str, str]) -> bool:
        if self.package is None or self.package not in software:
            return True
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(self.versions).contains(software[self.package], prereleases=True)


def _any(*ids: str) -> frozenset[str]:
    return frozenset(ids)


RULES: Sequence[Rule] = (
    Rule(
        id="flux-fp16",
        choices={"dtype": _any("fp16")},
        families=frozenset({"flux"}),
        reason="Flux.1 overflows in fp16: NaN in the latents, black pictures",
        cite="huggingface/diffusers#9096, InvokeAI#7213",
    ),
    Rule(
        id="gpu-kernels-need-half",
        choices={
            "dtype": _any("fp32"),
            "attention": _any("native-flash", "native-cudnn"),
        },
        devices=frozenset({"cuda", "rocm"}),
        reason="on a GPU this attention kernel takes bf16 and fp16 only",
        cite="diffusers attention_dispatch, table A7; conflict B78",
    ),
    Rule(
        id="slicing-replaces-attention",
        choices={
            "attention": _any("native-flash", "native-efficient", "native-cudnn", "native-math"),
            "attention-slicing": _any("auto", "max"),
        },
        reason="sliced attention brings its own processor, a backend set beside it is ignored",
        cite="diffusers 0.42.1, conflict B80",
        package="diffusers",
        versions=">=0.36",
    ),
    Rule(
        id="masked-flash",
        choices={"attention": _any("native-flash")},
        families=frozenset({"hunyuan-video", "hunyuan-image"}),
        reason="flash attention refuses the padding mask of this family",
        cite="diffusers attention_dispatch, conflict B76",
    ),
)


def broken_rule(
    candidate: Candidate,
    *,
    device: DeviceKind,
    family: str | None,
    software: Mapping[str, str],
) -> Rule | None:
    """The first rule that excludes the candidate, or ``None``."""
    for rule in RULES:
        if rule.forbids(candidate, device=device, family=family, software=software):
            return rule
    return None
