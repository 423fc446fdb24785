"""Where weights lie, and where prompts are encoded."""

from __future__ import annotations

from tests.contract.row import Row

#: What needs neither a stream nor an accelerator. Of two blocks, three quarters are both.
_ANYWHERE = "model group-block group-block-4 group-leaf group-disk partial-25 partial-50 staged"

ROWS = (
    Row(
        lever="offload",
        released="none model sequential group-block group-block-4 group-block-stream group-leaf "
        "group-leaf-stream group-leaf-stream-record group-leaf-stream-lean group-disk "
        "partial-25 partial-50 partial-75 staged",
        baseline="none",
        accepts=dict.fromkeys(("flux", "sd15", "wan"), "none"),
        forced={"flux": _ANYWHERE, "sd15": f"{_ANYWHERE} partial-75", "wan": _ANYWHERE},
    ),
    Row(
        lever="text-encoders",
        released="device host precomputed",
        baseline="device",
        accepts=dict.fromkeys(("flux", "sd15", "sdxl", "wan"), "device precomputed"),
        forced=dict.fromkeys(("flux", "sd15", "sdxl", "wan"), "host"),
    ),
)
