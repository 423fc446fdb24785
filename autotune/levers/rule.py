"""What a row of the table in ``rules`` is, and when it forbids a candidate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from autotune.records import Candidate, DeviceKind


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Choices of one lever: ids in which ``*`` stands for anything, or all but those."""

    ids: tuple[str, ...]
    all_but: bool = False

    def matches(self, choice: str | None) -> bool:
        """Whether the choice is meant; a lever that is not set never is."""
        if choice is None:
            return False
        return any(fnmatchcase(choice, id) for id in self.ids) is not self.all_but


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One combination that does not work, and why.

    It forbids every candidate that matches all ``choices``, on the devices and families it names
    (all, if it names none; never ``besides``), while the package stands in the version range.
    ``cite`` is where the behaviour was seen.
    """

    id: str
    choices: Mapping[str, Pattern]
    reason: str
    cite: str
    families: frozenset[str] = frozenset()
    besides: frozenset[str] = frozenset()
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
        return self.matches(candidate) and self.holds(
            device=device, family=family, software=software
        )

    def matches(self, candidate: Candidate) -> bool:
        """Whether the candidate has all that is forbidden together."""
        return all(
            pattern.matches(candidate.get(lever)) for lever, pattern in self.choices.items()
        )

    def holds(
        self, *, device: DeviceKind, family: str | None, software: Mapping[str, str]
    ) -> bool:
        """Whether the row is about such a device and model, with these packages."""
        return (
            (not self.families or family in self.families)
            and family not in self.besides
            and (not self.devices or device in self.devices)
            and self._in_range(software)
        )

    def _in_range(self, software: Mapping[str, str]) -> bool:
        if self.package is None or self.package not in software:
            return True
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(self.versions).contains(software[self.package], prereleases=True)


class RuleTable:
    """Rules that hold somewhere, to be asked about many candidates: a choice is matched once.

    Each rule is a bit. What a choice leaves possible is a number: the rules that it matches, and
    those that say nothing about its lever.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._levers = dict.fromkeys(lever for rule in self._rules for lever in rule.choices)
        self._possible: dict[tuple[str, str | None], int] = {}

    def broken(self, candidate: Candidate) -> Rule | None:
        """The first rule that the candidate breaks, or ``None``."""
        left = (1 << len(self._rules)) - 1
        for lever in self._levers:
            key = (lever, candidate.get(lever))
            possible = self._possible.get(key)
            if possible is None:
                possible = self._possible[key] = self._left_possible(*key)
            left &= possible
            if not left:
                return None
        return self._rules[(left & -left).bit_length() - 1] if left else None

    def _left_possible(self, lever: str, choice: str | None) -> int:
        bits = 0
        for number, rule in enumerate(self._rules):
            pattern = rule.choices.get(lever)
            bits |= (pattern is None or pattern.matches(choice)) << number
        return bits


def make_rule(
    id: str,
    *when: str,
    reason: str,
    cite: str,
    families: str = "",
    besides: str = "",
    devices: tuple[DeviceKind, ...] = (),
    package: str = "",
) -> Rule:
    """A row, from text.

    Args:
        id: Short and for ever: it stands in reports.
        when: What is forbidden together, as ``lever=id|id``, ``lever=group-*`` or
            ``lever=!none`` for all but that one.
        reason: Why, for people.
        cite: Where it was seen.
        families: Names between spaces; none means all.
        besides: Families that it does not hold for.
        devices: Kinds of device; none means all.
        package: The package and the versions that behave so: ``torchao<0.20``.
    """
    from packaging.requirements import Requirement

    needed = Requirement(package) if package else None
    choices = {}
    for text in when:
        lever, _, ids = text.partition("=")
        choices[lever] = Pattern(ids=tuple(ids.lstrip("!").split("|")), all_but=ids[0] == "!")
    return Rule(
        id=id,
        choices=choices,
        reason=reason,
        cite=cite,
        families=frozenset(families.split()),
        besides=frozenset(besides.split()),
        devices=frozenset(devices),
        package=needed.name if needed else None,
        versions=str(needed.specifier) if needed else "",
    )
