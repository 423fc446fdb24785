"""What a user may give for a component: recognised by what it holds, or refused by name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.models.given import give, kinds_needed, look_at, parse_checkpoints
from autotune.models.look import look
from autotune.models.resolve import resolve
from autotune.records import Model
from tests.checkpoints import write_bfl, write_gguf, write_tiny_vae

Tiny = Callable[[str], Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    """One of each kind, made from the tiny Flux."""
    folder = tmp_path_factory.mktemp("given")
    component = tiny("flux") / "transformer"
    write_gguf(folder / "eight.gguf", component, "Q8_0")
    write_gguf(folder / "four.gguf", component, "Q4_0")
    write_bfl(folder / "fp8.safetensors", component, "fp8")
    write_bfl(folder / "nvfp4.safetensors", component, "nvfp4")
    write_tiny_vae(folder / "tiny-vae")
    for method in ("nunchaku_lite", "auto-round", "torchao"):
        quantized = {"quant_method": method, "svdq_w4a4": {"precision": "nvfp4"}}
        write_quantized(folder / method, component, quantized)
    return folder


def write_quantized(folder: Path, component: Path, quantized: object) -> None:
    """A component's folder that says it is quantized."""
    shutil.copytree(component, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantized}))


@pytest.fixture(scope="module")
def flux(tiny: Tiny) -> Model:
    return resolve(str(tiny("flux")))


# ---------------------------------------------------------------------------------- at a path


@pytest.mark.parametrize(
    ("name", "kind", "formats"),
    [
        ("eight.gguf", "gguf", ("Q8_0", "F32")),
        ("four.gguf", "gguf", ("Q4_0", "F32")),
        ("fp8.safetensors", "bfl", ("fp8",)),
        ("nvfp4.safetensors", "bfl", ("nvfp4",)),
        ("nunchaku_lite", "svdquant", ("nvfp4",)),
        ("auto-round", "auto-round", ("nvfp4",)),
        ("tiny-vae", "tiny-vae", ("fp32",)),
    ],
)
def test_each_kind_is_recognised(
    files: Path, name: str, kind: str, formats: tuple[str, ...]
) -> None:
    found = look(files / name)
    assert (found.kind, found.formats) == (kind, formats)
    assert found.digest.startswith("sha256:")
    whole = sum(path.stat().st_size for path in (files / name).rglob("*.safetensors"))
    assert 0 < found.weight_bytes <= (whole or (files / name).stat().st_size)


def test_a_file_is_recognised_by_its_content_alone(files: Path, tmp_path: Path) -> None:
    copy = tmp_path / "of another name.gguf"
    shutil.copy(files / "eight.gguf", copy)
    assert look(copy).digest == look(files / "eight.gguf").digest
    assert look(copy).digest != look(files / "four.gguf").digest
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert look(copy).digest != look(files / "eight.gguf").digest
    folder = tmp_path / "vae"
    shutil.copytree(files / "tiny-vae", folder)
    assert look(folder).digest == look(files / "tiny-vae").digest
    config = folder / "config.json"
    config.write_text(config.read_text().replace("relu", "silu"))
    assert look(folder).digest != look(files / "tiny-vae").digest


def test_a_link_of_the_hubs_cache_keeps_the_name_that_diffusers_goes_by(
    files: Path, tmp_path: Path
) -> None:
    blob = tmp_path / "0123456789abcdef"
    shutil.copy(files / "eight.gguf", blob)
    (tmp_path / "x.gguf").symlink_to(blob)
    assert look(tmp_path / "x.gguf").path == tmp_path / "x.gguf"
    with pytest.raises(BadInput, match="only if its name ends in "):
        look(blob)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.bin", b"PK\x03\x04", "pickled weights"),
        ("x.pt", b"", "pickled weights"),
        ("x.ckpt", b"\x80\x02", "pickled weights"),
        ("x.dat", b"\x80\x02}q\x00.", "pickled weights"),
        ("x.gguf", b"GGUF", "is not a whole GGUF file: it ends within its header"),
        ("x.gguf", b"\x80\x02pickle", "it does not begin with GGUF"),
        ("x.safetensors", b"\x80\x02", "is not a whole safetensors file"),
        ("x.txt", b"hello", "is no checkpoint that can be given"),
        ("x", b"", "is no checkpoint that can be given"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=said) as refused:
        look(tmp_path / name)
    assert "\n" not in refused.value.message
    assert refused.value.hint


def test_a_truncated_file_is_refused(files: Path, tmp_path: Path) -> None:
    for name in ("eight.gguf", "fp8.safetensors"):
        data = (files / name).read_bytes()
        (tmp_path / name).write_bytes(data[:-100])
        with pytest.raises(BadInput, match="bytes are missing at its end"):
            look(tmp_path / name)


@pytest.mark.parametrize("path", ["", "/no/such/file.gguf", "a\0b", "\n", "x" * 5000, "~nobody/x"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(BadInput):
        look(path)


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(BadInput, match="neither a file nor a folder"):
        look(tmp_path / "x.gguf")


def test_a_folder_of_another_kind_is_refused(files: Path, tiny: Tiny, tmp_path: Path) -> None:
    for folder, said in (
        (tmp_path, "holds no config.json"),
        (tiny("flux"), "is a whole pipeline, not one component"),
        (tiny("flux") / "transformer", "holds ordinary weights of 'FluxTransformer2DModel'"),
        (files / "torchao", "is quantized with 'torchao', which is not taken as a file"),
    ):
        with pytest.raises(BadInput, match=said):
            look(folder)


@pytest.mark.parametrize("quantized", [[], "gguf", {}, {"quant_method": ["x"]}])
def test_a_strange_configuration_is_refused(quantized: object, tiny: Tiny, tmp_path: Path) -> None:
    write_quantized(tmp_path / "x", tiny("flux") / "transformer", quantized)
    with pytest.raises(BadInput, match=r"the folder 'x' (holds ordinary|is quantized)"):
        look(tmp_path / "x")


def test_pickled_weights_in_a_folder_are_refused(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vae"
    shutil.copytree(files / "tiny-vae", folder)
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(BadInput, match="pickled"):
        look(folder)


def test_ordinary_and_foreign_single_files_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    own = tiny("flux") / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(BadInput, match="holds ordinary weights"):
        look(own)
    save_file({"a.smooth_factor": torch.zeros(2)}, tmp_path / "svdq.safetensors")
    with pytest.raises(BadInput, match="a file of the nunchaku package"):
        look(tmp_path / "svdq.safetensors")


# -------------------------------------------------------------------------------- to a model


def test_a_checkpoint_is_given_to_its_component(files: Path, flux: Model) -> None:
    model = give(flux, look_at({"denoiser": files / "eight.gguf", "vae": files / "tiny-vae"}))
    assert [(one.component, one.kind) for one in model.given] == [
        ("transformer", "gguf"),
        ("vae", "tiny-vae"),
    ]
    assert [one.component for one in model.given_as("gguf")] == ["transformer"]
    assert model.given_as("bfl") == ()
    named = give(flux, look_at({"vae": files / "tiny-vae", "transformer": files / "eight.gguf"}))
    assert named == model
    assert give(flux, {}) is flux


@pytest.mark.parametrize(
    ("component", "name", "said", "hint"),
    [
        ("trasformer", "eight.gguf", "flux has no component 'trasformer'", "transformer"),
        ("x", "eight.gguf", "flux has no component 'x'", "it has denoiser, "),
        ("vae", "eight.gguf", "cannot stand for vae", "transformer"),
        ("text_encoder", "eight.gguf", "cannot stand for text_encoder", "transformer"),
        ("denoiser", "tiny-vae", "cannot stand for transformer", "vae"),
    ],
)
def test_what_does_not_fit_is_refused(
    files: Path, flux: Model, component: str, name: str, said: str, hint: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        give(flux, look_at({component: files / name}))
    assert hint in (refused.value.hint or "")


def test_two_for_one_component_are_refused(files: Path, flux: Model) -> None:
    found = look_at({"denoiser": files / "eight.gguf", "transformer": files / "four.gguf"})
    with pytest.raises(BadInput, match="two checkpoints are given for transformer"):
        give(flux, found)


def test_a_checkpoint_of_another_model_is_refused(files: Path, tiny: Tiny) -> None:
    sd3 = resolve(str(tiny("sd3")))
    with pytest.raises(BadInput, match=r"holds \d+ numbers, transformer of sd3 has \d+"):
        give(sd3, look_at({"denoiser": files / "eight.gguf"}))
    with pytest.raises(BadInput, match="'FluxTransformer2DModel', transformer of SD3Transf"):
        give(sd3, look_at({"denoiser": files / "auto-round"}))


@pytest.mark.parametrize("text", ["", "x", "=", "transformer=", "=x.gguf", "transformer"])
def test_an_argument_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="names no component and path"):
        parse_checkpoints([text])


def test_arguments_are_read_and_two_for_one_refused() -> None:
    texts = ["vae=/a=b", "denoiser=x.gguf", "denoiser=x.gguf"]
    assert parse_checkpoints(texts) == {"vae": "/a=b", "denoiser": "x.gguf"}
    with pytest.raises(BadInput, match="two checkpoints are given for 'denoiser'"):
        parse_checkpoints([*texts, "denoiser=y.gguf"])


def test_what_choices_need_is_known() -> None:
    choices: dict[str, Any] = {"checkpoint": "gguf", "vae-model": "tiny", "dtype": "bf16"}
    assert kinds_needed(choices) == {"gguf", "tiny-vae"}
    assert kinds_needed({"checkpoint": "own", "vae-model": "own"}) == set()
    from autotune.levers import checkpoint, vae_model
    from tests.trial.bench import CPU

    made = {
        (one.lever, one.id)
        for lever in (checkpoint, vae_model)
        for one in lever.choices(CPU, None)
        if not one.baseline
    }
    assert all(kinds_needed(dict([one])) for one in made)
