"""Real pipelines of a few hundred kilobytes with random weights, built offline, saved as folders.

Each ``tiny_*`` function writes one diffusers folder and returns it. They are ordinary pipelines:
``from_pretrained`` loads them; a 64x64 picture in two steps takes a tenth of a second on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CLIP_LENGTH = 77
_WIDTH = 32  # of every text encoder
_JOINT = 64  # what SD3 calls joint_attention_dim: two CLIPs side by side


def tiny_sd15(folder: Path) -> Path:
    """A StableDiffusionPipeline, 64x64 by default."""
    import diffusers

    _seed()
    return _save(
        folder,
        diffusers.StableDiffusionPipeline(
            vae=_vae(latent_channels=4),
            text_encoder=_clip(),
            tokenizer=_clip_tokenizer(),
            unet=diffusers.UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=_WIDTH,
                attention_head_dim=4,
                norm_num_groups=4,
            ),
            scheduler=_ddim(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ),
    )


def tiny_sdxl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline, 64x64 by default."""
    import diffusers

    _seed()
    return _save(
        folder,
        diffusers.StableDiffusionXLPipeline(
            vae=_vae(latent_channels=4),
            text_encoder=_clip(),
            text_encoder_2=_clip(projection=True),
            tokenizer=_clip_tokenizer(),
            tokenizer_2=_clip_tokenizer(),
            unet=diffusers.UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=2 * _WIDTH,
                attention_head_dim=(2, 4),
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                # Six numbers of size and crop, eight wide each, beside the pooled text.
                projection_class_embeddings_input_dim=6 * 8 + _WIDTH,
                norm_num_groups=4,
            ),
            scheduler=_ddim(),
        ),
    )


def tiny_sd3(folder: Path) -> Path:
    """A StableDiffusion3Pipeline with all three text encoders, 64x64 by default."""
    import diffusers

    _seed()
    return _save(
        folder,
        diffusers.StableDiffusion3Pipeline(
            transformer=diffusers.SD3Transformer2DModel(
                sample_size=8,
                patch_size=2,
                in_channels=16,
                out_channels=16,
                num_layers=2,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=_JOINT,
                caption_projection_dim=32,
                pooled_projection_dim=2 * _WIDTH,
                pos_embed_max_size=32,
            ),
            vae=_vae(latent_channels=16, shift_factor=0.0609),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            text_encoder=_clip(projection=True),
            tokenizer=_clip_tokenizer(),
            text_encoder_2=_clip(projection=True),
            tokenizer_2=_clip_tokenizer(),
            text_encoder_3=_t5(width=_JOINT),
            tokenizer_3=_t5_tokenizer(),
        ),
    )


def tiny_pixart(folder: Path) -> Path:
    """A PixArtSigmaPipeline, 64x64 by default; it needs ``use_resolution_binning=False``."""
    import diffusers

    _seed()
    return _save(
        folder,
        diffusers.PixArtSigmaPipeline(
            tokenizer=_t5_tokenizer(),
            text_encoder=_t5(width=_WIDTH),
            vae=_vae(latent_channels=4),
            transformer=diffusers.PixArtTransformer2DModel(
                sample_size=8,
                num_layers=2,
                patch_size=2,
                attention_head_dim=8,
                num_attention_heads=4,
                caption_channels=_WIDTH,
                in_channels=4,
                out_channels=8,
                cross_attention_dim=32,
                use_additional_conditions=False,
            ),
            scheduler=_ddim(),
        ),
    )


def tiny_flux(folder: Path) -> Path:
    """A FluxPipeline with guidance embedding (the dev variant); 1024x1024 unless told a size."""
    import diffusers

    _seed()
    return _save(
        folder,
        diffusers.FluxPipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
                shift=3.0, use_dynamic_shifting=True
            ),
            vae=_vae(latent_channels=4, shift_factor=0.1159),
            text_encoder=_clip(),
            tokenizer=_clip_tokenizer(),
            text_encoder_2=_t5(width=_WIDTH),
            tokenizer_2=_t5_tokenizer(),
            transformer=diffusers.FluxTransformer2DModel(
                patch_size=1,
                in_channels=16,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=_WIDTH,
                pooled_projection_dim=_WIDTH,
                guidance_embeds=True,
                axes_dims_rope=(4, 4, 8),
            ),
        ),
    )


def tiny_sana(folder: Path) -> Path:
    """A SanaPipeline: linear attention, a Gemma encoder and a deep-compression VAE."""
    import diffusers
    import transformers

    _seed()
    encoder = transformers.Gemma2Model(
        transformers.Gemma2Config(
            vocab_size=64,
            hidden_size=_WIDTH,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
        )
    )
    return _save(
        folder,
        diffusers.SanaPipeline(
            tokenizer=_t5_tokenizer(),
            text_encoder=encoder,
            vae=diffusers.AutoencoderDC(
                latent_channels=4,
                attention_head_dim=4,
                encoder_block_types=("ResBlock", "EfficientViTBlock"),
                decoder_block_types=("ResBlock", "EfficientViTBlock"),
                encoder_block_out_channels=(8, 8),
                decoder_block_out_channels=(8, 8),
                encoder_qkv_multiscales=((), (5,)),
                decoder_qkv_multiscales=((), (5,)),
                encoder_layers_per_block=(1, 1),
                decoder_layers_per_block=(1, 1),
                downsample_block_type="conv",
                upsample_block_type="interpolate",
                decoder_norm_types="rms_norm",
                decoder_act_fns="silu",
                scaling_factor=0.41407,
            ),
            transformer=diffusers.SanaTransformer2DModel(
                patch_size=1,
                in_channels=4,
                out_channels=4,
                num_layers=1,
                num_attention_heads=2,
                attention_head_dim=16,
                num_cross_attention_heads=2,
                cross_attention_head_dim=16,
                cross_attention_dim=32,
                caption_channels=_WIDTH,
                sample_size=32,
            ),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        ),
    )


def tiny_wan(folder: Path) -> Path:
    """A WanPipeline (video): five frames of 64x64 by default."""
    import diffusers
    import transformers

    _seed()
    encoder = transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=64,
            d_model=_WIDTH,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )
    return _save(
        folder,
        diffusers.WanPipeline(
            tokenizer=_t5_tokenizer(),
            text_encoder=encoder,
            vae=diffusers.AutoencoderKLWan(
                base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1
            ),
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            transformer=diffusers.WanTransformer3DModel(
                patch_size=(1, 2, 2),
                num_attention_heads=2,
                attention_head_dim=16,
                in_channels=16,
                out_channels=16,
                text_dim=_WIDTH,
                freq_dim=32,
                ffn_dim=64,
                num_layers=2,
                rope_max_seq_len=32,
            ),
        ),
    )


#: Every pipeline of this module by its short name.
TINY: dict[str, Callable[[Path], Path]] = {
    "sd15": tiny_sd15,
    "sdxl": tiny_sdxl,
    "sd3": tiny_sd3,
    "pixart": tiny_pixart,
    "flux": tiny_flux,
    "sana": tiny_sana,
    "wan": tiny_wan,
}

#: What a 64x64 picture in two steps needs besides the prompt.
CALL: dict[str, dict[str, Any]] = {
    name: {"height": 64, "width": 64, "num_inference_steps": 2} for name in TINY
}
# Binning would make it 256x256 at least; cleaning captions wants a package nobody else needs.
CALL["pixart"] |= {"use_resolution_binning": False, "clean_caption": False}
CALL["sana"] |= {"use_resolution_binning": False, "clean_caption": False}
CALL["wan"] |= {"num_frames": 5}


def _seed() -> None:
    import torch

    torch.manual_seed(0)


def _save(folder: Path, pipeline: Any) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _ddim() -> Any:
    import diffusers

    return diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    )


def _vae(*, latent_channels: int, shift_factor: float | None = None) -> Any:
    import diffusers

    # Four blocks, as in the real ones: a latent pixel is eight pixels wide.
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.18215,
        shift_factor=shift_factor,
    )


def _clip(*, projection: bool = False) -> Any:
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=64,
        hidden_size=_WIDTH,
        projection_dim=_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=_CLIP_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    if projection:
        return transformers.CLIPTextModelWithProjection(config)
    return transformers.CLIPTextModel(config)


def _clip_tokenizer() -> Any:
    import transformers

    pieces = ["<|startoftext|>", "<|endoftext|>", *_LETTERS, *(f"{one}</w>" for one in _LETTERS)]
    return transformers.CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        model_max_length=_CLIP_LENGTH,
    )


def _t5(*, width: int) -> Any:
    import transformers

    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=64,
            d_model=width,
            d_kv=16,
            d_ff=64,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _t5_tokenizer() -> Any:
    import transformers

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in _LETTERS]
    return transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
