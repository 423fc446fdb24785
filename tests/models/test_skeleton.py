"""Skeletons: files that load, weights that are drawn, and every family's pipeline really run."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.asked import Asked, make_request
from autotune.errors import BadInput, CannotRun
from autotune.levers.base import Target
from autotune.models.catalog import Entry, find
from autotune.models.published import entries_with_parts, parts_of
from autotune.models.resolve import resolve
from autotune.models.skeleton import build, make, weights
from autotune.models.skeleton.weights import Tensor, file_bytes, shards_of, write_file
from autotune.trial import generate, output
from tests.trial.bench import CPU

pytestmark = pytest.mark.trials

#: One model for each pipeline: models that share one differ in sizes alone.
TYPICAL = {one.pipeline: one.name for one in reversed(entries_with_parts())}
SOME = [Tensor(name="a.weight", shape=(64, 32)), Tensor(name="norm.weight", shape=(64,))]


def entry_of(name: str) -> Entry:
    found = find(name)
    assert found is not None
    return found


def silent(_: str) -> None:
    return


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    def written(name: str) -> Path:
        folder = tmp_path_factory.mktemp("tiny") / name
        build.write_skeleton(entry_of(name), folder, tiny=True, tell=silent)
        return folder

    return written


@pytest.mark.parametrize("name", sorted(TYPICAL.values()))
def test_a_tiny_model_of_every_pipeline_is_loaded_and_makes_a_healthy_picture(
    name: str, tiny: Callable[[str], Path]
) -> None:
    model = resolve(str(tiny(name)))
    entry = entry_of(name)
    assert (model.weights, model.family) == ("random", entry.family)
    assert model.pipeline == entry.pipeline
    assert model.workload.height == 256
    work = model.workload.but(steps=2)
    target = Target(model=model.but(workload=work), device=CPU, workload=work)
    generate.build_pipeline(target, {"dtype": "fp32"})
    result = generate.caller(target.pipe, work, 1)(0)
    assert output.problem_of(output.picture_of(result), result) is None


def test_tensors_are_drawn_at_the_scale_of_an_initialisation_and_none_is_zero(
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file

    write_file(tmp_path / "x.safetensors", [*SOME, Tensor(name="b.bias", shape=(4096,))], "fp32")
    found = load_file(tmp_path / "x.safetensors")
    assert {name: tuple(one.shape) for name, one in found.items()} == {
        "a.weight": (64, 32),
        "norm.weight": (64,),
        "b.bias": (4096,),
    }
    assert float(found["a.weight"].std()) == pytest.approx(32**-0.5, rel=0.1)
    assert float(found["norm.weight"].mean()) == pytest.approx(1, abs=0.02)
    assert float(found["b.bias"].std()) == pytest.approx(0.02, rel=0.1)
    assert all(bool((one != 0).all()) for one in found.values())


def test_tensors_of_one_shape_are_different(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    twins = [Tensor(name=name, shape=(32, 32)) for name in ("a", "b")]
    write_file(tmp_path / "x.safetensors", twins, "bf16")
    found = load_file(tmp_path / "x.safetensors")
    assert not bool((found["a"] == found["b"]).all())


def test_a_tensor_larger_than_the_block_is_filled_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr(weights, "_BLOCK", 1000)
    weights._block.cache_clear()
    write_file(tmp_path / "x.safetensors", [Tensor(name="a", shape=(50, 70))], "fp16")
    weights._block.cache_clear()
    values = load_file(tmp_path / "x.safetensors")["a"].flatten().tolist()
    assert statistics.pstdev(values[-500:]) == pytest.approx(70**-0.5, rel=0.2)


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_a_file_is_as_large_as_was_said(dtype: str, tmp_path: Path) -> None:
    both = [*SOME, Tensor(name="count", shape=(), counts=True)]
    write_file(tmp_path / "x.safetensors", both, dtype)
    assert (tmp_path / "x.safetensors").stat().st_size == file_bytes(both, dtype)


def test_tensors_that_are_tied_are_written_once() -> None:
    module = build.structure_of(parts_of(entry_of("flux"), tiny=True)["text_encoder_2"])
    names = [one.name for one in weights.tensors_of(module)]
    assert "shared.weight" in names
    assert "encoder.embed_tokens.weight" not in names


def test_large_components_are_sharded_with_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 200_000)
    build.write_skeleton(entry_of("flux"), tmp_path / "flux", tiny=True, tell=silent)
    folder = tmp_path / "flux" / "transformer"
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 1
    assert {path.name for path in folder.glob("*.safetensors")} == files
    target = Target(
        model=resolve(str(tmp_path / "flux")), device=CPU, workload=entry_of("flux").workload
    )
    generate.build_pipeline(target, {"dtype": "bf16"})


def test_no_shard_is_larger_than_it_may_be_unless_a_tensor_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", 100)
    sizes = (10, 30, 80, 5)
    tensors = [Tensor(name=str(n), shape=(size,)) for n, size in enumerate(sizes)]
    assert [[one.numbers for one in shard] for shard in shards_of(tensors, "bf16")] == [
        [10, 30],
        [80],
        [5],
    ]


# --------------------------------------------------------------------------- going on, refusing


def test_what_was_broken_off_goes_on_and_what_is_whole_stays(tiny: Callable[[str], Path]) -> None:
    folder = tiny("sd15")
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    broken = folder / "vae" / "diffusion_pytorch_model.safetensors"
    size, written_at = broken.stat().st_size, whole.stat().st_mtime_ns
    broken.write_bytes(b"half")
    (folder / "model_index.json").unlink()
    made = make.make_skeleton("sd15", folder, tiny=True, quiet=True)
    assert broken.stat().st_size == size
    assert whole.stat().st_mtime_ns == written_at
    assert resolve(str(made.folder)).weights == "random"


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".x.safetensors.{ended.pid}.part"
    alive = tmp_path / f".x.safetensors.{os.getppid()}.part"
    for path in (dead, alive):
        path.write_bytes(b"half")
    write_file(tmp_path / "x.safetensors", SOME, "bf16")
    assert {path.name for path in tmp_path.iterdir()} == {"x.safetensors", alive.name}


def test_a_writer_that_fails_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text("raise ImportError('torch is broken here')")
    with pytest.raises(CannotRun, match="torch is broken here") as caught:
        make.make_skeleton("sd15", tmp_path / "new", tiny=True, quiet=True)
    assert "goes on where this one stopped" in str(caught.value.hint)


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(BadInput, match="is there and is no skeleton"):
        make.make_skeleton("sd15", tmp_path, tiny=True)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_skeleton_of_another_size_or_model_is_refused(tiny: Callable[[str], Path]) -> None:
    folder = tiny("sd15")
    with pytest.raises(BadInput, match="holds a tiny skeleton of 'sd15'"):
        make.make_skeleton("sd15", folder)
    with pytest.raises(BadInput, match="holds a tiny skeleton of 'sd15'"):
        make.make_skeleton("flux", folder, tiny=True)


@pytest.mark.parametrize("model", ["demo", "somebody/something", "./sd15"])
def test_a_model_whose_components_are_not_known_is_refused(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sd15").mkdir()
    with pytest.raises(BadInput, match="is not known here") as caught:
        make.make_skeleton(model, tmp_path / "new", tiny=True)
    assert "wan-14b" in str(caught.value.hint)


def test_a_disk_that_is_too_small_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10 << 30))
    with pytest.raises(CannotRun) as caught:
        make.make_skeleton("flux", tmp_path / "a" / "flux")
    message = "the skeleton takes 31.42 GiB, and 10.00 GiB are free there"
    assert caught.value.message == message
    assert list(tmp_path.iterdir()) == []


def test_random_weights_of_a_published_model_are_tuned_without_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def instead(model: str, folder: Path, **changes: Any) -> Any:
        asked.append(model)
        return written(model, folder, tiny=True, **changes)

    written = make.make_skeleton
    monkeypatch.setattr(make, "make_skeleton", instead)  # of full size: two gigabytes
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path))
    request = make_request("sd15", Asked(weights="random", device="cpu", runs=tmp_path / "runs"))
    assert asked == ["sd15"]
    assert (request.model.weights, request.model.family) == ("random", "sd15")
    with pytest.raises(BadInput, match="weights cannot be 'none'"):
        make_request("sd15", Asked(weights="none"))
