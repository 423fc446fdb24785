"""Quantized components that the trials of a study keep for each other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from autotune.levers.base import Target
from autotune.records import Model, Outcome, TrialSpec
from autotune.status import Status
from autotune.trial import generate, output, prepared, run
from autotune.trial.wire import OUTCOME, SPEC, write_record
from tests.trial.bench import CPU, SMALL, fitted, tiny_model, trial_spec

pytestmark = pytest.mark.trials

Runs = Callable[..., tuple[Outcome, Path]]
KEPT = ", kept from an earlier trial"
BOTH = {
    "dtype": "bf16",
    "quantize-denoiser": "torchao-int8dq",
    "quantize-text-encoder": "bnb-nf4",
}


def kept_in(folder: Path) -> list[Path]:
    """What is kept, complete or not, in order."""
    return sorted(path for path in folder.glob("*") if path.name.startswith((".half", "t", "v")))


def was_kept(outcome: Outcome, lever: str = "quantize-denoiser") -> bool:
    assert outcome.status is Status.MEASURED, outcome.message
    return outcome.engaged[lever].detail.endswith(KEPT)


# ------------------------------------------------------------------------------------ it is used


def test_the_second_trial_loads_what_the_first_has_quantized_and_paints_the_same(
    run_in_child: Runs, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"model": "flux", "choices": BOTH, "prepared": str(tmp_path / "study")}
    first, first_folder = run_in_child(**more)
    assert not was_kept(first)
    assert [path.name.partition("-")[0] for path in kept_in(tmp_path / "study")] == [
        "text_encoder_2",
        "transformer",
    ]
    second, second_folder = run_in_child(**more)
    assert was_kept(second)
    assert was_kept(second, "quantize-text-encoder")
    assert second.weights == first.weights
    pictures = [folder / "picture.png" for folder in (first_folder, second_folder)]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def test_outside_a_study_nothing_is_kept(run_in_child: Runs, tmp_path: Path) -> None:
    outcome, _ = run_in_child(model="flux", choices=BOTH, prepared=None)
    assert outcome.status is Status.MEASURED
    assert list(tmp_path.rglob("kept.json")) == []


class Scene(NamedTuple):
    """One study's folder, and the pipelines that its trials load."""

    folder: Path

    def load(self, model: Model | str = "flux", **choices: str) -> Target:
        record = tiny_model(model) if isinstance(model, str) else model
        target = Target(model=record, device=CPU, workload=SMALL, prepared=self.folder)
        named = {name.replace("_", "-"): choice for name, choice in choices.items()}
        generate.build_pipeline(target, {"dtype": "bf16"} | named)
        return target

    def output(self, target: Target) -> Any:
        workload = fitted("wan" if target.model.family == "wan" else "", SMALL)
        return output.picture_of(generate.caller(target.pipe, workload)(0))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(folder=tmp_path / "study")


def is_from(scene: Scene, module: Any) -> bool:
    """Whether the component was loaded from what the study keeps."""
    config = module.config
    source = config["_name_or_path"] if isinstance(config, dict) else module.name_or_path
    return Path(source).parent == scene.folder


#: Models and components, each with a choice that survives. The transformer of Wan has tensors
#: of its own beside its modules, and keeps some in fp32.
SURVIVORS = [
    ("flux", "transformer", "quantize_denoiser", "torchao-int8wo"),
    ("flux", "transformer", "quantize_denoiser", "torchao-int8dq"),
    ("flux", "transformer", "quantize_denoiser", "torchao-fp8wo"),
    ("wan", "transformer", "quantize_denoiser", "torchao-int8wo"),
    ("sd15", "unet", "quantize_denoiser", "torchao-int8dq"),
    ("flux", "vae", "quantize_vae", "torchao-int8wo"),
    ("flux", "text_encoder_2", "quantize_text_encoder", "torchao-fp8wo"),
    ("flux", "text_encoder_2", "quantize_text_encoder", "bnb-nf4"),
    ("flux", "text_encoder_2", "quantize_text_encoder", "bnb-int8"),
    ("flux", "text_encoder", "quantize_other_encoders", "bnb-fp4"),
]


@pytest.mark.parametrize(("model", "component", "lever", "choice"), SURVIVORS)
def test_what_is_kept_is_equal_bit_for_bit(
    scene: Scene, model: str, component: str, lever: str, choice: str
) -> None:
    from bitsandbytes.functional import has_avx512bf16

    first = scene.load(model, **{lever: choice})
    before = scene.output(first)
    prepared.keep(first)
    second = scene.load(model, **{lever: choice})
    assert not is_from(scene, getattr(first.pipe, component))
    if choice == "bnb-fp4" and has_avx512bf16():
        # There bitsandbytes halves the scales of CLIP's layers in their first call: what is kept
        # afterwards is no longer what was made, is seen to be so, and is made anew.
        assert not is_from(scene, getattr(second.pipe, component))
        return
    assert is_from(scene, getattr(second.pipe, component))
    traces = [prepared._trace(getattr(one.pipe, component)) for one in (first, second)]
    assert traces[0] == traces[1]
    assert bool((scene.output(second) == before).all())


def test_an_encoder_that_sdnq_has_packed_comes_back_the_same(scene: Scene, tmp_path: Path) -> None:
    """SDNQ writes into its configuration what it leaves alone, and its key must not change."""
    import torch
    import transformers

    torch.manual_seed(0)
    folder = Path(shutil.copytree(tiny_model("flux").folder, tmp_path / "wide"))
    shutil.rmtree(folder / "text_encoder_2")
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=16, d_ff=1024, num_layers=1, num_heads=2
    )
    transformers.T5EncoderModel(config).save_pretrained(folder / "text_encoder_2")
    wide = tiny_model("flux").but(folder=str(folder))
    first = scene.load(wide, quantize_text_encoder="sdnq-int8")
    before = scene.output(first)
    prepared.keep(first)
    second = scene.load(wide, quantize_text_encoder="sdnq-int8")
    assert is_from(scene, second.pipe.text_encoder_2)
    assert bool((scene.output(second) == before).all())


@pytest.mark.parametrize("choice", ["quanto-int8", "quanto-int4"])
def test_what_would_not_come_back_the_same_is_not_kept(scene: Scene, choice: str) -> None:
    prepared.keep(scene.load(quantize_denoiser=choice))
    assert kept_in(scene.folder) == []


def test_it_is_used_by_no_other_model_format_choice_or_version(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared.keep(scene.load(quantize_denoiser="torchao-int8wo"))
    same = scene.load(quantize_denoiser="torchao-int8wo")
    assert is_from(scene, same.denoiser)
    for other in (
        scene.load(quantize_denoiser="torchao-int8wo", dtype="fp32"),
        scene.load(quantize_denoiser="torchao-int8dq"),
        scene.load(model="wan", quantize_denoiser="torchao-int8wo"),
    ):
        assert not is_from(scene, other.denoiser)
    same.model = same.model.but(revision="another")
    assert prepared.restore(same, "transformer") is None
    same.model = tiny_model("flux")
    assert prepared.restore(same, "transformer") is not None
    monkeypatch.setattr(prepared, "_version", lambda package: "0.0")
    assert prepared.restore(same, "transformer") is None


# ----------------------------------------------------------------------------- it never does harm


def test_a_half_written_copy_is_neither_used_nor_in_the_way(scene: Scene) -> None:
    target = scene.load(quantize_denoiser="torchao-int8wo")
    prepared.keep(target)
    (whole,) = kept_in(scene.folder)
    half = scene.folder / ".half-of-a-killed-trial"
    shutil.copytree(whole, half)
    (half / "kept.json").unlink()
    whole.rename(scene.folder / "away")
    again = scene.load(quantize_denoiser="torchao-int8wo")
    assert not is_from(scene, again.denoiser)
    prepared.keep(again)
    assert kept_in(scene.folder) == [whole], "and what was half there is gone"
    assert is_from(scene, scene.load(quantize_denoiser="torchao-int8wo").denoiser)


def truncate(folder: Path) -> None:
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])


def forge(folder: Path) -> None:
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(b"\xff" * weights.stat().st_size)


def lose(folder: Path) -> None:
    (folder / "config.json").unlink()


def confuse(folder: Path) -> None:
    (folder / "kept.json").write_text("[]")


@pytest.mark.parametrize("damage", [truncate, forge, lose, confuse])
def test_a_damaged_copy_is_quantized_again(scene: Scene, damage: Callable[[Path], None]) -> None:
    first = scene.load(quantize_denoiser="torchao-int8wo")
    before = scene.output(first)
    prepared.keep(first)
    damage(kept_in(scene.folder)[0])
    second = scene.load(quantize_denoiser="torchao-int8wo")
    assert not is_from(scene, second.denoiser)
    assert bool((scene.output(second) == before).all())
    prepared.keep(second)
    assert is_from(scene, scene.load(quantize_denoiser="torchao-int8wo").denoiser)


def test_what_a_lever_loaded_itself_is_taken_before_what_is_kept(scene: Scene) -> None:
    prepared.keep(scene.load(quantize_denoiser="torchao-int8wo"))
    own = scene.load().denoiser
    target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL, prepared=scene.folder)
    target.load_arguments["transformer"] = own
    generate.build_pipeline(target, {"dtype": "bf16", "quantize-denoiser": "torchao-int8wo"})
    assert target.denoiser is own


@pytest.mark.fault("C12")
def test_on_a_full_disk_nothing_is_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    target = scene.load(quantize_denoiser="torchao-int8wo")
    usage = shutil.disk_usage(scene.folder.parent)
    reserve = min(10 << 30, int(usage.total * 0.05))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=reserve + 1000))
    prepared.keep(target)
    assert kept_in(scene.folder) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=reserve + (1 << 20)))
    prepared.keep(target)
    assert len(kept_in(scene.folder)) == 1


@pytest.mark.fault("C12")
def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = scene.load(quantize_denoiser="torchao-int8wo")

    def fills_up(folder: Path, **_: object) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target.denoiser, "save_pretrained", fills_up)
    prepared.keep(target)
    assert kept_in(scene.folder) == []


def test_a_folder_that_cannot_be_made_does_no_harm(scene: Scene) -> None:
    target = scene.load(quantize_denoiser="torchao-int8wo")
    scene.folder.write_text("a file in the way")
    prepared.keep(target)
    assert scene.folder.read_text() == "a file in the way"


def test_weights_that_another_lever_has_changed_are_not_kept(scene: Scene) -> None:
    import torch

    target = scene.load(quantize_denoiser="torchao-int8wo")
    bias = next(one for name, one in target.denoiser.named_parameters() if name.endswith("bias"))
    with torch.no_grad():
        bias.data = torch.empty_like(bias) + 1  # as offloading to the disk does
    prepared.keep(target)
    assert kept_in(scene.folder) == []


def test_what_was_kept_is_not_kept_again(scene: Scene) -> None:
    prepared.keep(scene.load(quantize_denoiser="torchao-int8wo"))
    (folder,) = kept_in(scene.folder)
    before = folder.stat().st_mtime_ns
    prepared.keep(scene.load(quantize_denoiser="torchao-int8wo"))
    assert kept_in(scene.folder) == [folder]
    assert folder.stat().st_mtime_ns == before


def test_keeping_comes_after_everything_that_is_measured_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []

    def keep(target: Target) -> None:
        outcome = json.loads((tmp_path / OUTCOME).read_text())
        written.append(outcome["status"])

    monkeypatch.setattr(prepared, "keep", keep)
    spec: TrialSpec = trial_spec(
        model="flux", choices={"quantize-denoiser": "torchao-int8wo"}, prepared=str(tmp_path)
    )
    write_record(tmp_path, SPEC, spec)
    outcome = run.run_folder(tmp_path)
    assert (outcome.status, written) == (Status.MEASURED, ["measured"])
