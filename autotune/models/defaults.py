"""What a model generates unless the user says otherwise, and which part of it denoises."""

from __future__ import annotations

from pathlib import Path

from autotune.errors import BadInput
from autotune.models.catalog import Entry, find_pipeline
from autotune.models.index import read_config
from autotune.records import Component, Workload

#: Where neither the catalogue nor the configuration knows: what most models of today are made for.
SIDE = 1024
#: A side outside this comes from a configuration that means something else by it.
LEAST_SIDE, MOST_SIDE = 64, 2048
#: Every VAE and patch size of the catalogue divides it.
MULTIPLE = 16
#: What diffusers' pipelines without a better default use at the least (PixArt, Sana).
STEPS = 20
#: Four times four and one: a length that the usual temporal compressions of 4 and 8 accept.
FRAMES = 17
#: What a latent pixel is wide in nearly every image VAE.
SCALE = 8

#: Components that denoise in any pipeline that has one of that name, in this order.
_DENOISERS = ("transformer", "unet", "prior", "decoder")
_NEVER_DENOISE = ("vae", "movq", "vqvae", "vqgan", "text_encoder", "image_encoder", "safety")


def choose_denoiser(components: tuple[Component, ...], *, what: str) -> str:
    """The component that works in every step.

    Raises:
        BadInput: If there is none with weights.
    """
    heavy = {part.name: part for part in components if part.weight_bytes}
    for name in _DENOISERS:
        if name in heavy:
            return name
    rest = [
        part
        for part in heavy.values()
        if part.library == "diffusers" and not part.name.startswith(_NEVER_DENOISE)
    ]
    if not rest:
        raise BadInput(
            f"{what} has no denoiser with weights", hint="a model has a transformer or a unet"
        )
    return max(rest, key=lambda part: part.weight_bytes).name


def default_workload(
    folder: Path, entry: Entry | None, *, pipeline: str, denoiser: Component
) -> Workload:
    """Derive the workload: the entry's own, else that of its pipeline at the configured size.

    Raises:
        BadInput: If a configuration cannot be read.
    """
    if entry:
        return entry.workload
    known = find_pipeline(pipeline)
    if known and known.default.frames:
        return known.workload
    base = known.workload if known else Workload(height=SIDE, width=SIDE, steps=STEPS)
    height, width = _configured_size(folder, denoiser.name) or (base.height, base.width)
    frames = FRAMES if known is None and _makes_videos(pipeline, denoiser.class_name) else None
    return base.but(height=height, width=width, frames=frames)


def _makes_videos(pipeline: str, denoiser_class: str) -> bool:
    # Some image models share a denoiser that could do videos: Kandinsky5T2IPipeline.
    return "Video" in pipeline or ("3D" in denoiser_class and "T2I" not in pipeline)


def _configured_size(folder: Path, denoiser: str) -> tuple[int, int] | None:
    """Height and width as the pipelines derive them: latent size times what the VAE enlarges."""
    config = read_config(folder / denoiser / "config.json", what=f"{denoiser}/config.json")
    size = config.get("sample_size")
    sides = [size, size] if isinstance(size, int) else size
    match sides:
        case [int(height), int(width)]:
            scale = _vae_scale(folder)
            return _bounded(height * scale), _bounded(width * scale)
    return None


def _vae_scale(folder: Path) -> int:
    path = folder / "vae" / "config.json"
    if not path.is_file():
        return SCALE
    config = read_config(path, what="vae/config.json")
    for key in ("block_out_channels", "encoder_block_out_channels"):
        blocks = config.get(key)
        # One halving between two blocks; no VAE has ten of them.
        if isinstance(blocks, list) and 1 <= len(blocks) <= 10:
            return int(2 ** (len(blocks) - 1))
    return SCALE


def _bounded(side: int) -> int:
    return max(LEAST_SIDE, min(MOST_SIDE, side)) // MULTIPLE * MULTIPLE
