"""How a trial ended, and whose fault it was: the closed list (fault matrix, §3)."""

from __future__ import annotations

from enum import StrEnum


class Teaches(StrEnum):
    """Whose fault a failure is, hence what the sampler learns."""

    CANDIDATE = "candidate"
    ENVIRONMENT = "environment"
    BUG = "bug"


class Status(StrEnum):
    """How a trial ended. The sentence beside each member is what the user reads."""

    MEASURED = "measured"
    OUT_OF_VRAM = "out_of_vram"
    OVER_BUDGET = "over_budget"
    OUT_OF_RAM = "out_of_ram"
    UNSUPPORTED = "unsupported"
    NOT_APPLIED = "not_applied"
    BAD_OUTPUT = "bad_output"
    IMPLAUSIBLE = "implausible"
    TOO_SLOW = "too_slow"
    CRASHED = "crashed"
    HUNG = "hung"
    INTERFERED = "interfered"
    THROTTLED = "throttled"
    KILLED = "killed"
    DEVICE_LOST = "device_lost"
    DISK_FULL = "disk_full"
    CANCELLED = "cancelled"
    PROTOCOL_ERROR = "protocol_error"
    INTERNAL = "internal"

    @property
    def sentence(self) -> str:
        """What happened, for people."""
        return _SENTENCES[self][0]

    @property
    def teaches(self) -> Teaches | None:
        """Whose fault it is; ``None`` for a measured trial."""
        return _SENTENCES[self][1]


_SENTENCES: dict[Status, tuple[str, Teaches | None]] = {
    Status.MEASURED: ("measured", None),
    Status.OUT_OF_VRAM: ("needs more memory than the device has", Teaches.CANDIDATE),
    Status.OVER_BUDGET: ("needs more memory than the budget", Teaches.CANDIDATE),
    Status.OUT_OF_RAM: ("needs more host memory than there is or --ram allows", Teaches.CANDIDATE),
    Status.UNSUPPORTED: ("this combination does not work here", Teaches.CANDIDATE),
    Status.NOT_APPLIED: ("accepted, but had no effect", Teaches.CANDIDATE),
    Status.BAD_OUTPUT: ("the picture is broken", Teaches.CANDIDATE),
    Status.IMPLAUSIBLE: ("measured what cannot be true", Teaches.CANDIDATE),
    Status.TOO_SLOW: ("slower than the deadline", Teaches.CANDIDATE),
    Status.CRASHED: ("the process crashed", Teaches.CANDIDATE),
    Status.HUNG: ("no progress until the deadline", Teaches.CANDIDATE),
    Status.INTERFERED: ("something else kept the device busy", Teaches.ENVIRONMENT),
    Status.THROTTLED: ("the device slowed itself down", Teaches.ENVIRONMENT),
    Status.KILLED: ("ended from outside", Teaches.ENVIRONMENT),
    Status.DEVICE_LOST: ("the device went away", Teaches.ENVIRONMENT),
    Status.DISK_FULL: ("no space left on the disk", Teaches.ENVIRONMENT),
    Status.CANCELLED: ("cancelled", Teaches.ENVIRONMENT),
    Status.PROTOCOL_ERROR: ("the process ended without a readable result", Teaches.BUG),
    Status.INTERNAL: ("an error inside autotune", Teaches.BUG),
}
