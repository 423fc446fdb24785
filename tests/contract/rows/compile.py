"""What is compiled or traced. A compile takes seconds, so only a few choices are run."""

from __future__ import annotations

from tests.contract.row import Row

_ON_A_CPU = "none full full-max-autotune-nographs full-dynamic"
_REGIONAL = f"{_ON_A_CPU} regional regional-max-autotune regional-dynamic"

ROWS = (
    Row(
        lever="compile",
        released=(
            "none regional regional-max-autotune regional-dynamic full full-reduce-overhead "
            "full-max-autotune full-max-autotune-nographs full-dynamic jit-trace"
        ),
        baseline="none",
        accepts={
            "flux": _REGIONAL,
            "wan": _REGIONAL,
            "sd3": _ON_A_CPU,
            "sd15": f"{_REGIONAL} jit-trace",
        },
        run={
            # The last two are not available, and must be noticed when they are set all the same.
            "flux": "none regional full full-reduce-overhead jit-trace",
            "wan": "none regional",
            "sd3": "none regional",
            "sd15": "none jit-trace",
        },
    ),
    Row(
        lever="compile-vae",
        released="off on",
        baseline="off",
        accepts={"sd15": "off on", "flux": "off on"},
        run={"sd15": "off on"},
    ),
)
