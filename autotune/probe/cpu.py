"""The processor as /proc/cpuinfo describes it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: Instruction sets that decide which matrix kernels run, hence how fast each dtype is. The first
#: row is x86, the second ARM (where `asimd` is NEON and `asimdhp` its half precision).
FEATURES: Final = (
    *("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("avx_vnni", "amx_tile", "amx_bf16", "amx_int8", "amx_fp16"),
    *("neon", "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme"),
)


class Cpu(NamedTuple):
    """What the text says; ``name`` is ``None`` and ``cores`` 0 when it does not say."""

    name: str | None
    features: tuple[str, ...]
    cores: int


def parse_cpuinfo(text: str) -> Cpu:
    """Find name, relevant features and number of logical cores; never raises."""
    found: dict[str, str] = {}
    cores = 0
    for line in text.splitlines():
        key, colon, value = (part.strip() for part in line.partition(":"))
        if colon:
            found.setdefault(key, value)
            cores += key == "processor" and value.isdigit()
    flags = set((found.get("flags") or found.get("Features") or "").split())
    return Cpu(_name(found), tuple(name for name in FEATURES if name in flags), cores)


def _name(found: dict[str, str]) -> str | None:
    for key in ("model name", "Hardware", "Model", "cpu"):
        if name := " ".join(found.get(key, "").split()):
            return name
    if "CPU part" in found:  # servers with ARM cores give numbers only
        return f"ARM {found.get('CPU implementer', '?')}:{found['CPU part']}"
    return None


def parse_core_list(text: str) -> int:
    """Count the cores in a list such as ``0-3,8``; 0 when it is not one."""
    if not re.fullmatch(r"\d{1,6}(-\d{1,6})?(,\d{1,6}(-\d{1,6})?)*", text, re.ASCII):
        return 0
    cores: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return len(cores)
