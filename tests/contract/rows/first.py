"""Number format, layout and VAE: what there was first."""

from __future__ import annotations

from tests.contract.row import LARGE, MEDIUM, UNETS, Row, for_all

ROWS = (
    Row(
        lever="dtype",
        released="fp32 bf16 fp16",
        baseline="fp32",
        accepts=for_all("fp32 bf16 fp16"),
        changes={"bf16": 0.02, "fp16": 0.002},
    ),
    Row(
        lever="channels-last",
        released="off vae denoiser denoiser+vae",
        baseline="off",
        accepts=for_all("off vae", wan="off")
        | dict.fromkeys(UNETS, "off vae denoiser denoiser+vae"),
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        # The VAEs of all but Sana are of one class.
        accepts={"sd15": "off half quarter", "sana": "off half quarter"},
        changes={"half": 0.05, "quarter": 0.1},
        workload=LARGE,
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        # A latent pixel of Sana's is two pixels wide here, of the others' eight.
        accepts=for_all("off half", sana="off half quarter"),
        changes={"half": 0.05, "quarter": 0.1},
        workload=MEDIUM,
    ),
    Row(
        lever="vae-tiling",
        released="off half quarter",
        baseline="off",
        accepts=for_all("off", sana="off half quarter"),
        changes={"half": 0.05, "quarter": 0.1},
    ),
    Row(
        lever="vae-slicing",
        released="off on",
        baseline="off",
        accepts=for_all("off on"),
        workload=MEDIUM,
    ),
    Row(
        lever="vae-slicing",
        released="off on",
        baseline="off",
        accepts=for_all("off"),
    ),
)
