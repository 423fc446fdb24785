"""Build the embedded model: FluxPipeline's own architecture, small, with seeded random weights.

Run as ``python -m autotune.models.demo.build FOLDER``. Pictures are noise until the model is
trained; speed and memory are those of its size all the same, so tuning it means something.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from autotune.errors import CannotRun
from autotune.files import cache_folder
from autotune.processes import own_environment

#: Part of the folder's name: raise it whenever anything below changes.
BUILD = 1
SEED = 20261121
#: Marks a folder whose weights were drawn, not trained (design D16).
MARKER = "autotune-random-weights.json"


def build_demo() -> Path:
    """Return the folder of the embedded model, building it on first use (about ten seconds).

    Raises:
        CannotRun: If it cannot be built here.
    """
    folder = cache_folder("models") / f"demo-{BUILD}"
    if (folder / "model_index.json").exists():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix=".demo-", dir=folder.parent))
    try:
        command = [sys.executable, "-m", "autotune.models.demo.build", str(scratch)]
        done = subprocess.run(
            command,
            env=own_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise CannotRun(
                f"the embedded model could not be built: {last}",
                hint="autotune doctor shows which packages do not work",
            )
        try:
            os.rename(scratch, folder)
        except OSError:
            if not (folder / "model_index.json").exists():  # else another process was first
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def write_demo(folder: Path) -> None:
    """Write the complete diffusers folder."""
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxPipeline,
        FluxTransformer2DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(SEED)
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=3,
        attention_head_dim=32,
        num_attention_heads=8,
        joint_attention_dim=128,
        pooled_projection_dim=64,
        guidance_embeds=True,
        axes_dims_rope=(4, 14, 14),
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        norm_num_groups=16,
        sample_size=256,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    words = len(_vocabulary())
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=64,
            max_position_embeddings=77,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=words,
            d_model=128,
            d_ff=256,
            d_kv=32,
            num_layers=1,
            num_heads=4,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            use_cache=False,
        )
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=clip,
        tokenizer=_tokenizer(77),
        text_encoder_2=t5,
        tokenizer_2=_tokenizer(512),
        transformer=transformer,
    )
    # Stored in bf16 like its full-size model; whether that is slow depends on the processor.
    pipe.to(torch.bfloat16).save_pretrained(folder)
    (folder / MARKER).write_text(json.dumps({"weights": "random", "seed": SEED}) + "\n")


def _vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz ,."
    return {"<pad>": 0, "</s>": 1, "<unk>": 2} | {one: i + 3 for i, one in enumerate(letters)}


def _tokenizer(length: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel(_vocabulary(), unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


if __name__ == "__main__":
    write_demo(Path(sys.argv[1]))
