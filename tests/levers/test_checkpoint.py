"""checkpoint with real files: written from the tiny models, loaded, run, and looked at again."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.levers import checkpoint
from autotune.levers.base import Target
from autotune.levers.rules import broken_rule
from autotune.models.resolve import resolve
from autotune.models.structure import Structure
from autotune.records import Device, Evidence, Fidelity, Model
from autotune.status import Status
from autotune.trial import generate
from autotune.trial.run import run_trial
from tests.checkpoints import own_weights, with_checkpoints, write_bfl, write_gguf
from tests.levers.built import planned
from tests.trial.bench import CPU, SMALL, fitted, tiny_model, trial_spec

pytestmark = pytest.mark.trials

Makes = Callable[..., Model]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def given(files: Path) -> Makes:
    """The tiny pipeline with its own denoiser given to it once more, as a file of that format."""

    def make(pipeline: str, format: str) -> Model:
        model = tiny_model(pipeline)
        component = Path(model.folder, model.denoiser)
        is_bfl = format in ("fp8", "nvfp4")
        path = files / f"{pipeline}-{format}{'.safetensors' if is_bfl else '.gguf'}"
        if not path.exists():
            (write_bfl if is_bfl else write_gguf)(path, component, format)
        return with_checkpoints(model, denoiser=path)

    return make


def built(model: Model, pipeline: str, choice: str, **choices: str) -> Target:
    target = Target(model=model, device=CPU, workload=fitted(pipeline, SMALL))
    generate.build_pipeline(target, {"checkpoint": choice, **choices})
    return target


def picture(target: Target) -> Any:
    from autotune.trial import output

    return output.picture_of(generate.caller(target.pipe, target.workload)(0)).float()


def device(kind: Any, capability: str | None = None) -> Device:
    return CPU.but(kind=kind, compute_capability=capability)


def reason(kind: str, here: Device, model: Model | None = None) -> str | None:
    view = Structure(model, model.workload) if model else None
    return {one.id: one.unavailable for one in checkpoint.choices(here, view)}[kind]


@pytest.mark.parametrize(
    ("pipeline", "format", "choice", "difference"),
    [
        ("flux", "Q8_0", "gguf", 0.01),
        ("flux", "Q4_0", "gguf", 0.05),
        ("sd15", "Q8_0", "gguf", 0.01),
        ("wan", "Q8_0", "gguf", 0.01),
        ("flux", "fp8", "bfl", 0.05),
        ("flux", "nvfp4", "bfl", 0.1),
    ],
)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_denoiser_from_a_file_makes_nearly_the_same_picture(
    pipeline: str, format: str, choice: str, difference: float, dtype: str, given: Makes
) -> None:
    model = given(pipeline, format)
    target = built(model, pipeline, choice, dtype=dtype)
    evidence = checkpoint.engaged(target, choice)
    assert evidence.engaged, evidence.detail
    linears, packed = _numbers(evidence.detail)
    assert linears * 0.5 < packed <= linears
    assert not checkpoint.engaged(target, "own").engaged
    plain = built(model, pipeline, "own", dtype=dtype)
    assert checkpoint.engaged(plain, "own").engaged
    assert not checkpoint.engaged(plain, choice).engaged
    assert 0 < float((picture(target) - picture(plain)).abs().mean()) < difference


def _numbers(detail: str) -> tuple[int, int]:
    first, second = [int(word) for word in detail.split() if word.isdigit()]
    return first, second


def test_a_trial_with_a_file_is_measured_and_its_weights_are_the_files(
    given: Makes, tmp_path: Path
) -> None:
    model = given("flux", "Q4_0")
    spec = trial_spec(model="flux").but(
        model=model, choices={"dtype": "bf16", "checkpoint": "gguf"}
    )
    outcome = run_trial(spec, tmp_path)
    assert outcome.status is Status.MEASURED, outcome.message
    (file,) = model.given
    own = model.component("transformer")
    assert own is not None
    assert file.weight_bytes <= outcome.weights["transformer"] < own.weight_bytes / 2


@pytest.mark.parametrize("kind", ["gguf", "svdquant", "bfl", "auto-round"])
def test_only_what_was_given_for_the_choice_lies_as_in_its_file(kind: str, given: Makes) -> None:
    plain = planned(tiny_model("flux"))
    assert planned(tiny_model("flux"), checkpoint=kind) == plain, "nothing was given"
    model = given("flux", "Q4_0")
    found = planned(model, checkpoint=kind)
    sizes = {name: part.file_bytes for name, part in found.parts.items() if part.file_bytes}
    assert sizes == ({"transformer": model.given[0].weight_bytes} if kind == "gguf" else {})
    assert planned(model, checkpoint="own") == planned(model)


@pytest.mark.parametrize("pipeline", ["flux", "wan"])
def test_a_file_without_all_weights_is_refused(pipeline: str, files: Path) -> None:
    model = tiny_model(pipeline)
    path = files / f"short-{pipeline}.gguf"
    write_gguf(path, Path(model.folder, "transformer"), "Q8_0", leave_out="proj_out.bias")
    with pytest.raises(ValueError, match="the file lacks weights of a "):
        built(with_checkpoints(model, denoiser=path), pipeline, "gguf")


def test_dequantized_weights_are_no_evidence(given: Makes) -> None:
    import torch

    target = built(given("flux", "Q8_0"), "flux", "gguf")
    for module in target.denoiser.modules():
        if isinstance(module, torch.nn.Linear):
            module.weight = torch.nn.Parameter(torch.zeros(1))
    assert not checkpoint.engaged(target, "gguf").engaged


def test_a_folder_that_is_quantized_itself_is_the_models_own(given: Makes) -> None:
    target = built(given("flux", "Q8_0"), "flux", "gguf")
    assert not checkpoint.engaged(target, "own").engaged
    folder = str(Path(target.model.folder, "transformer"))
    target.denoiser.register_to_config(_name_or_path=folder)
    assert checkpoint.engaged(target, "own").engaged


def test_of_two_denoisers_only_the_one_that_was_given_is_from_a_file(files: Path) -> None:
    import diffusers

    pipe = diffusers.WanPipeline.from_pretrained(tiny_model("wan").folder)
    pipe.register_modules(transformer_2=pipe.transformer)
    pipe.register_to_config(boundary_ratio=0.5)
    pipe.save_pretrained(files / "twins")
    own = resolve(str(files / "twins"))
    path = write_gguf(files / "second.gguf", Path(own.folder, "transformer_2"), "Q8_0")
    target = built(with_checkpoints(own, transformer_2=path), "wan", "gguf")
    evidence = checkpoint.engaged(target, "gguf")
    assert evidence.engaged
    assert "transformer: of 26 Linears none is from a file" in evidence.detail
    first, second = target.pipe.transformer, target.pipe.transformer_2
    target.pipe.transformer, target.pipe.transformer_2 = second, first
    assert not checkpoint.engaged(target, "gguf").engaged
    target.model = with_checkpoints(own, transformer=path, transformer_2=path)
    assert not checkpoint.engaged(target, "gguf").engaged
    target.pipe.transformer_2 = second
    assert checkpoint.engaged(target, "gguf").engaged


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("kind", ["gguf", "bfl"])
def test_what_was_not_given_is_asked_for(kind: str) -> None:
    said = reason(kind, CPU, tiny_model("flux"))
    assert said is not None
    assert "--checkpoint denoiser=" in said


def test_a_class_that_loads_no_single_files_is_named(given: Makes) -> None:
    said = reason("gguf", CPU, given("pixart", "Q8_0"))
    assert said == "diffusers cannot load a PixArtTransformer2DModel from a single file"


def test_a_type_that_diffusers_cannot_read_is_named(given: Makes) -> None:
    model = given("flux", "Q8_0")
    strange = model.given[0].but(formats=("Q8_0", "IQ1_S"))
    assert reason("gguf", CPU, model.but(given=(strange,))) == (
        "diffusers cannot read the GGUF type IQ1_S"
    )


def test_eight_bits_promise_more_than_four(given: Makes) -> None:
    def fidelity(model: Model) -> Fidelity:
        view = Structure(model, model.workload)
        return {one.id: one.fidelity for one in checkpoint.choices(CPU, view)}["gguf"]

    assert fidelity(given("flux", "Q8_0")) is Fidelity.CLOSE
    assert fidelity(given("flux", "Q4_0")) is Fidelity.BALANCED


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (device("cpu"), "SVDQuant's kernels need an NVIDIA GPU, this is cpu"),
        (device("rocm"), "SVDQuant's kernels need an NVIDIA GPU, this is rocm"),
        (device("cuda", "9.0"), "SVDQuant has no kernels for compute capability 9.0"),
        (device("cuda", "7.0"), "SVDQuant has no kernels for compute capability 7.0"),
        (device("cuda", "8.9"), "native code from the hub, and DIFFUSERS_TRUST_REMOTE_KERNELS"),
    ],
)
def test_svdquant_is_refused_where_its_kernels_do_not_run(
    here: Device, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "find_spec", lambda package: object())
    monkeypatch.delenv("DIFFUSERS_TRUST_REMOTE_KERNELS", raising=False)
    assert said in (reason("svdquant", here) or "")


def test_the_owner_alone_lets_svdquant_run(monkeypatch: pytest.MonkeyPatch, given: Makes) -> None:
    monkeypatch.setattr(checkpoint, "find_spec", lambda package: object())
    monkeypatch.setenv("DIFFUSERS_TRUST_REMOTE_KERNELS", "true")
    assert reason("svdquant", device("cuda", "8.9")) is None
    model = given("flux", "Q8_0")
    folder = model.given[0].but(kind="svdquant", formats=("nvfp4",))
    model = model.but(given=(folder,))
    assert reason("svdquant", device("cuda", "12.0"), model) is None
    assert "nvfp4 needs" in (reason("svdquant", device("cuda", "8.9"), model) or "")


@pytest.mark.parametrize(
    ("kind", "package"), [("gguf", "gguf"), ("svdquant", "kernels"), ("auto-round", "auto-round")]
)
def test_a_missing_package_is_named(
    kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "find_spec", lambda package: None)
    assert reason(kind, device("cuda", "8.9")) == f"the package {package} is not installed"


def test_other_devices_are_refused_by_name() -> None:
    assert reason("bfl", device("mps")) == "8-bit floats do not exist on mps"
    assert reason("auto-round", device("rocm")) == "AutoRound has no kernels for rocm"


# ---------------------------------------------------------------- what only other machines run


def test_what_svdquant_and_auto_round_need_of_diffusers_is_there() -> None:
    from diffusers.quantizers.auto import AUTO_QUANTIZER_MAPPING
    from diffusers.utils import import_utils

    assert {"nunchaku_lite", "auto-round", "gguf", "bfl"} <= set(AUTO_QUANTIZER_MAPPING)
    assert set(import_utils.ENV_VARS_TRUE_VALUES) == {"1", "ON", "YES", "TRUE"}
    home = AUTO_QUANTIZER_MAPPING["nunchaku_lite"].__module__
    assert home.startswith(checkpoint._ORIGIN["svdquant"] + ".")
    spec = importlib.util.find_spec(f"{checkpoint._ORIGIN['svdquant']}.utils")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text()
    assert source.count("self.qweight = nn.Parameter(") == 2
    assert "DIFFUSERS_TRUST_REMOTE_KERNELS" in source
    assert "== 9" in inspect.getsource(AUTO_QUANTIZER_MAPPING["nunchaku_lite"])
    assert AUTO_QUANTIZER_MAPPING["auto-round"].required_packages == ["auto_round"]


@pytest.mark.parametrize(
    ("kind", "home"),
    [
        ("svdquant", "diffusers.quantizers.nunchaku.utils"),
        ("auto-round", "auto_round.inference.backend"),
    ],
)
def test_their_modules_are_counted_by_where_they_come_from(kind: str, home: str) -> None:
    import torch

    target = Target(model=tiny_model("flux"), device=CPU, workload=SMALL)

    class Packed(torch.nn.Module):
        qweight = torch.zeros(4, 2, dtype=torch.int8)

    denoiser = torch.nn.Sequential(Packed(), torch.nn.Linear(2, 2))
    target.pipe = type("Pipe", (), {"transformer": denoiser})()
    assert not checkpoint.engaged(target, kind).engaged
    Packed.__module__ = home
    assert checkpoint.engaged(target, kind) == Evidence(
        engaged=True, detail=f"transformer: of 2 Linears 1 {kind}"
    )


def test_the_types_of_the_header_are_those_of_the_weights(given: Makes) -> None:
    (file,) = given("flux", "Q4_0").given
    assert file.formats == ("Q4_0", "F32")
    plain = own_weights(Path(tiny_model("flux").folder, "transformer"))
    numbers = sum(tensor.numel() for tensor in plain.values())
    assert numbers * 4.5 / 8 < file.weight_bytes < numbers


# -------------------------------------------------------------------------------- other levers


def ends(model: Model, folder: Path, **choices: str) -> Status:
    named = {lever.replace("_", "-"): choice for lever, choice in choices.items()}
    spec = trial_spec(model="flux").but(model=model, choices={"dtype": "fp32"} | named)
    return run_trial(spec, folder).status


@pytest.mark.parametrize(
    "other",
    [
        {"fuse_qkv": "on"},
        {"quantize_denoiser": "torchao-int8wo"},
        {"layerwise_casting": "fp8-e4m3"},
    ],
    ids=str,
)
def test_what_the_rules_exclude_beside_a_file_does_fail(
    other: dict[str, str], given: Makes, tmp_path: Path
) -> None:
    ((lever, choice),) = other.items()
    model = given("flux", "fp8")
    candidate = {"checkpoint": "bfl", lever.replace("_", "-"): choice}
    assert broken_rule(candidate, device="cpu", family="flux", software={}) is not None
    assert ends(model, tmp_path, checkpoint="bfl", **other) in (
        Status.UNSUPPORTED,
        Status.NOT_APPLIED,
    )


@pytest.mark.parametrize("offload", ["group-leaf", "model", "staged"])
@pytest.mark.parametrize("format", ["Q8_0", "fp8"])
def test_offload_moves_a_file_that_was_given(
    offload: str, format: str, given: Makes, tmp_path: Path
) -> None:
    choice = "gguf" if format == "Q8_0" else "bfl"
    model = given("flux", format)
    candidate = {"checkpoint": choice, "offload": offload}
    assert broken_rule(candidate, device="cuda", family="flux", software={}) is None
    assert ends(model, tmp_path, checkpoint=choice, offload=offload) is Status.MEASURED


def test_sequential_offload_and_gguf_are_excluded() -> None:
    candidate = {"checkpoint": "gguf", "offload": "sequential"}
    rule = broken_rule(candidate, device="cuda", family="flux", software={})
    assert rule is not None
    assert rule.id == "gguf-sequential"
