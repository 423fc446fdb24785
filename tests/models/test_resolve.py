"""Folders that save_pretrained wrote become pinned models; others are refused in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput, ModelUnavailable
from autotune.models import resolve as module
from autotune.models.catalog import find
from autotune.models.resolve import resolve
from tests.tiny import TINY

Tiny = Callable[[str], Path]


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    """A tiny pipeline that the test may change."""
    return Path(shutil.copytree(tiny("sd15"), tmp_path / "copy"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "pipeline", "family", "denoiser", "side"),
    [
        ("sd15", "StableDiffusionPipeline", "sd15", "unet", 64),
        ("sdxl", "StableDiffusionXLPipeline", "sdxl", "unet", 64),
        ("sd3", "StableDiffusion3Pipeline", "sd3", "transformer", 64),
        ("pixart", "PixArtSigmaPipeline", "pixart", "transformer", 64),
        ("flux", "FluxPipeline", "flux", "transformer", 1024),
        ("sana", "SanaPipeline", "sana", "transformer", 64),
    ],
)
def test_a_saved_pipeline_is_understood(
    tiny: Tiny, name: str, pipeline: str, family: str, denoiser: str, side: int
) -> None:
    folder = tiny(name)
    model = resolve(str(folder))
    assert (model.id, model.source, model.folder) == (name, "folder", str(folder))
    assert (model.pipeline, model.family, model.denoiser) == (pipeline, family, denoiser)
    assert (model.workload.height, model.workload.width) == (side, side)
    assert model.workload.frames is None
    assert model.weights == "real"
    assert model.revision.startswith("sha256:")
    index = json.loads((folder / "model_index.json").read_text())
    full = [key for key, value in index.items() if isinstance(value, list) and value[0]]
    assert [part.name for part in model.components] == full
    for part in model.components:
        has_weights = bool(list((folder / part.name).glob("*.safetensors")))
        assert bool(part.weight_bytes) is bool(part.parameters) is has_weights
        assert part.dtype == ("fp32" if has_weights else None)


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_pipeline_loads_and_makes_pictures(tiny: Tiny, name: str) -> None:
    import diffusers
    import numpy as np
    import torch

    from tests.tiny import CALL

    # One thread: two computing processes on two cores slow each other many times over.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pipe = diffusers.DiffusionPipeline.from_pretrained(tiny(name))
    pipe.set_progress_bar_config(disable=True)
    pictures = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        made = pipe(prompt="a red fox", **CALL[name], generator=generator, output_type="np")
        # Of a video its first frame.
        pictures.append(made.frames[0][0] if name == "wan" else made.images[0])
    torch.set_num_threads(threads)
    assert pictures[0].shape == (64, 64, 3)
    assert np.isfinite(pictures[0]).all()
    assert pictures[0].std() > 0.01
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_the_pin_follows_the_content_and_nothing_else(copy: Path, tmp_path: Path) -> None:
    before = resolve(str(copy)).revision
    (copy / "README.md").write_text("hello")
    (copy / ".DS_Store").write_text("")
    assert resolve(str(copy)).revision == before
    moved = copy.rename(tmp_path / "moved elsewhere")
    assert resolve(str(moved)).revision == before
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert resolve(str(moved)).revision != before
    weights.write_bytes(data)
    assert resolve(str(moved)).revision == before
    scheduler = moved / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("0.012", "0.013"))
    assert resolve(str(moved)).revision != before


def test_a_large_file_is_sampled(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autotune.models import pin

    monkeypatch.setattr(pin, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(pin, "HEAD_BYTES", 500)
    monkeypatch.setattr(pin, "SAMPLE_BYTES", 16)
    file = tmp_path / "large"
    seen = set()
    for changed in (None, 0, 499, 9999):
        data = bytearray(10_000)
        if changed is not None:
            data[changed] = 1
        file.write_bytes(data)
        seen.add(pin.pin(tmp_path, ["large"]))
    assert len(seen) == 4


def test_the_id_never_shows_the_path(copy: Path, tmp_path: Path) -> None:
    odd = copy.rename(tmp_path / "my model; $(rm) ü")
    assert resolve(f"{odd}/").id == "my-model-rm"
    assert resolve(str(odd.rename(tmp_path / "模型"))).id == "model"


def test_a_marker_says_that_the_weights_are_random(copy: Path) -> None:
    (copy / "autotune-random-weights.json").write_text("{}")
    assert resolve(str(copy)).weights == "random"


def test_the_demo_is_pinned_with_its_own_workload(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "build_demo", lambda: tiny("flux"))
    model = resolve("demo")
    assert (model.id, model.source, model.family) == ("demo", "demo", "demo")
    assert model.revision.startswith("sha256:")
    entry = find("demo")
    assert entry is not None
    assert model.workload == entry.workload


def test_a_pipeline_outside_the_catalogue_gets_careful_defaults(copy: Path) -> None:
    edit(copy, _class_name="StableDiffusionSAGPipeline")
    model = resolve(str(copy))
    assert model.family is None
    assert (model.workload.height, model.workload.steps) == (64, 20)
    assert model.workload.guidance is None


@pytest.mark.parametrize(
    ("size", "expected"),
    [(96, (768, 768)), ([8, 16], (64, 128)), (1, (64, 64)), (10**6, (2048, 2048)), (13, (96, 96))]
    + [(value, (512, 512)) for value in (None, "8", [8], [8, 8, 8], [None, 8])],
)
def test_the_size_is_what_the_configuration_says_within_bounds(
    copy: Path, size: object, expected: tuple[int, int]
) -> None:
    path = copy / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sample_size": size}))
    workload = resolve(str(copy)).workload
    assert (workload.height, workload.width) == expected


def test_videos_get_frames(copy: Path) -> None:
    edit(copy, _class_name="WanPipeline")
    assert resolve(str(copy)).workload.frames == 81
    edit(copy, _class_name="LattePipeline", unet=["diffusers", "LatteTransformer3DModel"])
    assert resolve(str(copy)).workload.frames == 17


def test_a_pipelines_own_module_is_no_remote_code(copy: Path) -> None:
    shutil.copytree(copy / "text_encoder", copy / "safety_checker")
    edit(copy, safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    part = resolve(str(copy)).component("safety_checker")
    assert part is not None
    assert part.weight_bytes > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["pipeline", "MyPipeline"]},
        {"unet": ["my_unet", "MyUNet"]},
        {"unet": ["os", "system"]},
        {"unet": ["diffusers.utils", "Thing"]},
        {"unet": ["..", "Thing"]},
        {"unet": ["../../stable_diffusion", "Thing"]},
    ],
)
def test_code_of_its_own_is_refused(copy: Path, changes: dict[str, object]) -> None:
    edit(copy, **changes)
    with pytest.raises(BadInput, match="needs Python code of its own"):
        resolve(str(copy))


def test_a_python_file_beside_a_component_is_refused(copy: Path) -> None:
    (copy / "unet" / "modeling.py").write_text("import os")
    with pytest.raises(BadInput, match=r"it brings 'unet/modeling\.py'"):
        resolve(str(copy))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"_class_name": None}, "names no pipeline class"),
        ({"_class_name": "os.system"}, "names no pipeline class"),
        ({"_class_name": 'X"; import os'}, "names no pipeline class"),
        ({"_class_name": "BrandNewPipeline"}, "has no pipeline BrandNewPipeline"),
        ({"_class_name": "UNet2DModel"}, "has no pipeline UNet2DModel"),
        ({"unet": ["diffusers"]}, "malformed component 'unet'"),
        ({"unet": [1, 2]}, "malformed component 'unet'"),
        ({"../unet": ["diffusers", "UNet2DConditionModel"]}, "malformed component '../unet'"),
        ({"unet": ["diffusers", "a.b"]}, "names a class 'a.b'"),
        ({"second": ["diffusers", "UNet2DConditionModel"]}, "second/ is missing"),
    ],
)
def test_a_wrong_index_is_refused(copy: Path, changes: dict[str, object], why: str) -> None:
    edit(copy, **changes)
    with pytest.raises(BadInput) as error:
        resolve(str(copy))
    assert why in error.value.message
    assert str(copy) not in error.value.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "{", '{"a": NaN}', "[" * 9999, "\0", '{"a":1,"a":2}']
)
def test_an_index_that_is_no_json_object_is_refused(copy: Path, text: str) -> None:
    (copy / "model_index.json").write_text(text)
    with pytest.raises(BadInput):
        resolve(str(copy))


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no model_index\.json"):
        resolve(str(tmp_path))


def test_an_index_of_gigabytes_is_not_read(copy: Path) -> None:
    with (copy / "model_index.json").open("r+b") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(BadInput, match="larger than"):
        resolve(str(copy))


def test_incomplete_components_are_named(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    with pytest.raises(BadInput, match="unet/ holds no weights"):
        resolve(str(copy))
    weights.write_bytes(whole[:5000])
    with pytest.raises(
        BadInput, match=r"unet/diffusion_pytorch_model\.safetensors is not a whole"
    ):
        resolve(str(copy))
    weights.write_bytes(whole)
    shutil.rmtree(copy / "tokenizer")
    (copy / "tokenizer").mkdir()
    with pytest.raises(BadInput, match="tokenizer/ is empty"):
        resolve(str(copy))


def test_a_model_without_a_denoiser_is_refused(copy: Path) -> None:
    edit(copy, unet=[None, None])
    with pytest.raises(BadInput, match="has no denoiser"):
        resolve(str(copy))


def test_the_hint_mentions_a_folder_that_the_catalogue_hides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise ModelUnavailable("not here", hint="look elsewhere")

    monkeypatch.setattr(module, "fetch", gone)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flux").mkdir()
    with pytest.raises(ModelUnavailable) as error:
        resolve("flux")
    assert error.value.hint == "look elsewhere; for the folder of that name write ./flux"


values = st.none() | st.booleans() | st.integers() | st.text(max_size=9)
json_values = st.recursive(
    values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(["_class_name", "unet", "vae", "extra"]), value=json_values)
def test_no_value_in_the_index_does_anything_but_be_read_or_refused(
    tiny: Tiny, tmp_path: Path, key: str, value: object
) -> None:
    folder = tmp_path / "fuzzed"
    if not folder.exists():
        shutil.copytree(tiny("sd15"), folder)
        shutil.copy(folder / "model_index.json", tmp_path / "whole.json")
    shutil.copy(tmp_path / "whole.json", folder / "model_index.json")
    edit(folder, **{key: value})
    refused = None
    try:
        resolve(str(folder))
    except BadInput as error:
        refused = error
    assert refused is None or refused.message.isprintable()
