"""Models of the hub that are foreseen from their configurations and the headers of weights."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import BadInput
from autotune.models.learnt import LEARNT
from autotune.models.ranged import FIRST_BYTES
from autotune.models.resolve import resolve
from autotune.records import Model
from tests.cli.command import run
from tests.models.loopback import COMMIT, Hub, serve

ROOT = Path(__file__).parents[2]
CANARY = "hf_canaryThatNobodyMaySee"
ASK = """
import json, sys
from autotune.errors import AutotuneError
from autotune.models.planned import plan_model
from autotune.models.resolve import resolve
ask = {"plan": plan_model, "resolve": resolve}[sys.argv[1]]
for name in sys.argv[2:]:
    try:
        answer = {"model": ask(name).model_dump(mode="json")}
    except AutotuneError as error:
        answer = {"code": int(error.exit_code), "message": error.message, "hint": error.hint}
    print(json.dumps(answer))
"""
DENOISER = "unet/diffusion_pytorch_model"


@dataclass
class Desk:
    """A user with two caches, the hub's and ours, who asks what models are made of."""

    endpoint: str
    home: Path
    said: str = ""

    def ask(self, *names: str, how: str = "plan", **environment: str) -> list[dict[str, Any]]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home / "hf"),
            "AUTOTUNE_CACHE": str(self.home / "ours"),
            "HF_TOKEN": CANARY,
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK, how, *(f"tiny/{name}" for name in names)],
            env={**clean, **variables, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said += done.stdout + done.stderr
        assert (done.returncode, done.stderr) == (0, "")
        assert CANARY not in self.said
        return [json.loads(line) for line in done.stdout.splitlines()]

    def plan(self, name: str, **environment: str) -> Model:
        (answer,) = self.ask(name, **environment)
        return Model.model_validate_json(json.dumps(answer["model"]))

    def kept(self, name: str) -> Path:
        return self.home / "ours" / "configs" / f"tiny--{name}" / COMMIT


@pytest.fixture(scope="module")
def folder(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline with a denoiser of 16 bits in shards, and a checker of the pipeline's own."""
    import diffusers
    import torch
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    copy = Path(shutil.copytree(tiny("sd15"), tmp_path_factory.mktemp("published") / "model"))
    unet = diffusers.UNet2DConditionModel.from_pretrained(copy / "unet").to(torch.bfloat16)
    shutil.rmtree(copy / "unet")
    unet.save_pretrained(copy / "unet", max_shard_size="300KB")
    assert len(list((copy / "unet").glob("*-of-*.safetensors"))) > 1
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    config = CLIPConfig(
        text_config={**small, "vocab_size": 64},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    StableDiffusionSafetyChecker(config).save_pretrained(copy / "safety_checker")
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(copy / "feature_extractor")
    index = json.loads((copy / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


@pytest.fixture(scope="module")
def hub(folder: Path) -> Iterator[Hub]:
    with serve(folder) as running:
        yield running


@pytest.fixture
def desk(hub: Hub, tmp_path: Path) -> Desk:
    hub.sent.clear()
    hub.requests.clear()
    return Desk(hub.endpoint, tmp_path)


def header_bytes(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int(struct.unpack("<Q", file.read(8))[0])


def weights_sent(hub: Hub) -> dict[str, int]:
    return {name: sent for name, sent in hub.sent.items() if name.endswith(".safetensors")}


def test_what_is_planned_is_what_would_be_read_from_the_whole_model(
    desk: Desk, folder: Path
) -> None:
    planned, complete = desk.plan("fine"), resolve(str(folder))
    assert planned.components == complete.components
    assert {part.dtype for part in planned.components} == {None, "bf16", "fp32"}
    assert (planned.id, planned.revision, planned.source) == ("tiny/fine", COMMIT, "hub")
    assert Path(planned.folder) == desk.kept("fine")
    own = {"id": complete.id, "revision": complete.revision, "source": "folder"}
    assert planned.but(folder=complete.folder, **own) == complete


def test_a_later_download_is_the_same_model(desk: Desk) -> None:
    planned = desk.plan("fine")
    (answer,) = desk.ask("fine", how="resolve")
    downloaded = Model.model_validate_json(json.dumps(answer["model"]))
    assert planned.but(folder="") == downloaded.but(folder="")
    # A whole copy is read, and nobody is asked.
    assert desk.plan("fine", HF_HUB_OFFLINE="1") == downloaded


def test_of_weights_only_headers_are_sent_and_nothing_enters_the_cache_of_the_hub(
    desk: Desk, hub: Hub, folder: Path
) -> None:
    desk.plan("fine")
    sent = weights_sent(hub)
    published = [str(path.relative_to(folder)) for path in folder.rglob("*.safetensors")]
    assert sorted(sent) == sorted(published)
    for name, count in sent.items():
        assert count <= FIRST_BYTES + header_bytes(folder / name)
    assert sum(sent.values()) < sum((folder / name).stat().st_size for name in sent)
    # One for the commit, one for each file; no header here takes a second.
    assert len(hub.requests) == 1 + len(hub.sent)
    assert not list(desk.home.rglob("*.safetensors"))
    assert not list((desk.home / "hf").rglob("*.json"))


@pytest.mark.parametrize("name", ["fine", "knows-no-ranges"])
def test_a_file_of_gigabytes_costs_its_header(
    tiny: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    copy = Path(shutil.copytree(tiny("sd15"), tmp_path / "model"))
    large = copy / f"{DENOISER}.safetensors"
    numbers, count = 1500, 2_000_000
    tensors = {
        f"down_blocks.{n}.a_name_that_is_long_enough_for_two_requests.weight": {
            "dtype": "BF16",
            "shape": [count],
            "data_offsets": [2 * count * n, 2 * count * (n + 1)],
        }
        for n in range(numbers)
    }
    header = json.dumps(tensors).encode()
    assert len(header) > FIRST_BYTES
    with large.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 2 * count * numbers)
    with serve(copy) as hub:
        model = Desk(hub.endpoint, tmp_path).plan(name)
    unet = model.component("unet")
    assert unet is not None
    assert (unet.parameters, unet.weight_bytes) == (count * numbers, 2 * count * numbers)
    assert (unet.weight_bytes, unet.dtype) == (6_000_000_000, "bf16")
    # What a server pushes before it notices that nobody reads stays in the buffers of the system.
    most = FIRST_BYTES + 8 + len(header) if name == "fine" else 64 << 20
    assert hub.sent[f"{DENOISER}.safetensors"] <= most
    assert len([one for one in hub.requests if one.endswith(large.name) and "unet" in one]) == 2


def test_the_second_time_no_network_is_needed(folder: Path, tmp_path: Path) -> None:
    with serve(folder) as hub:
        desk = Desk(hub.endpoint, tmp_path)
        before, tagged = desk.plan("fine"), desk.plan("fine@main")
        requests = len(hub.requests)
        assert desk.plan(f"fine@{COMMIT}") == before
        assert len(hub.requests) == requests
        assert desk.plan("fine") == before
        assert hub.requests[requests:] == ["GET /api/models/tiny/fine"]
    assert tagged == before
    for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
        for name in ("fine", "fine@main", f"fine@{COMMIT}"):
            assert desk.plan(name, **variables) == before


def test_what_lost_a_file_is_learnt_anew(desk: Desk) -> None:
    before = desk.plan("fine")
    (desk.kept("fine") / "vae" / "config.json").unlink()
    (offline,) = desk.ask("fine", HF_HUB_OFFLINE="1")
    assert offline["code"] == 3
    assert desk.plan("fine") == before
    (desk.kept("fine") / LEARNT).write_text('{"format": 2}')
    assert desk.plan("fine") == before


def test_the_configurations_alone_are_never_taken_for_a_model(desk: Desk) -> None:
    planned = desk.plan("fine")
    with pytest.raises(BadInput, match=r"missing|no weights"):
        resolve(planned.folder)
    for name in ("fine", f"fine@{COMMIT}"):
        (answer,) = desk.ask(name, how="resolve", HF_HUB_OFFLINE="1")
        assert answer["code"] == 3
        assert "HF_HUB_OFFLINE" in answer["message"]


def test_each_refusal_has_its_own_sentence_and_hint(desk: Desk) -> None:
    expected = {
        "gated": (3, "tiny/gated is gated", "accept it on https://127.0.0.1/tiny/gated"),
        "gated-files": (3, "tiny/gated-files is gated", "accept it on https://127.0.0.1/tiny/"),
        "private": (3, "shows no model tiny/private to you", "hf auth login"),
        "bad-token": (3, "refused the login for tiny/bad-token", "hf auth login"),
        "absent": (3, "has no model tiny/absent", "check the spelling"),
        "busy": (3, "asks for fewer requests", "wait"),
        "broken": (3, "answered 500 for tiny/broken", "later"),
        "fine@v9": (3, "tiny/fine has no revision 'v9'", "leave out @revision"),
        "no-index": (2, "is not a diffusers pipeline", "-Diffusers"),
        "pickled": (2, "are pickled", "safe_serialization=True"),
        "code": (2, "needs Python code of its own", "take a model whose classes"),
        "resets": (
            3,
            "is not known here, and it is not in the cache: 127.0.0.1 cannot be",
            "name",
        ),
        "corrupt": (3, "tiny/corrupt cannot be used: unet/diffusion_pytorch", "may be broken"),
    }
    for (name, (code, message, hint)), answer in zip(
        expected.items(), desk.ask(*expected), strict=True
    ):
        assert answer["code"] == code, name
        assert message in answer["message"]
        assert hint in answer["hint"]
    offline, _ = desk.ask("fine", "gated", HF_HUB_OFFLINE="1")
    assert "what tiny/fine is made of is not known here" in offline["message"]
    assert "HF_HUB_OFFLINE" in offline["message"]
    assert "a model of the catalogue that is like it" in offline["hint"]
    assert not list((desk.home / "ours").rglob(LEARNT))


def test_a_passing_failure_is_tried_again(desk: Desk) -> None:
    assert desk.plan("flaky").revision == COMMIT
    assert desk.plan("truncates").revision == COMMIT


def test_its_profile_is_that_of_the_whole_model(desk: Desk, folder: Path) -> None:
    import torch

    from autotune.estimate.trace import profile_of
    from autotune.models.structure import Structure
    from autotune.trial.generate import caller
    from tests.trial.bench import CPU, SMALL

    torch.set_num_threads(1)
    profiles = []
    for model in (desk.plan("fine"), resolve(str(folder))):
        asked = model.but(workload=SMALL, id="the same")
        profiles.append(profile_of(asked, Structure(asked, SMALL), CPU, caller))
    planned, complete = profiles
    assert complete.uncounted is None
    assert set(planned.components) == {"unet", "vae", "text_encoder", "safety_checker"}
    assert len(planned.denoise) == 1
    assert planned == complete


@pytest.mark.parametrize(
    ("name", "begins", "size", "most", "says"),
    [
        (f"{DENOISER}.safetensors", struct.pack("<Q", 17 << 20), 1 << 30, FIRST_BYTES, "16 MiB"),
        ("tokenizer/tokenizer.json", b"{}", 1 << 30, 128 << 20, "64 MiB"),
    ],
)
def test_no_more_is_read_than_such_files_have(
    tiny: Callable[[str], Path],
    tmp_path: Path,
    name: str,
    begins: bytes,
    size: int,
    most: int,
    says: str,
) -> None:
    copy = Path(shutil.copytree(tiny("sd15"), tmp_path / "model"))
    with (copy / name).open("wb") as file:
        file.write(begins)
        file.truncate(size)
    with serve(copy) as hub:
        (answer,) = Desk(hub.endpoint, tmp_path).ask("fine")
    assert answer["code"] == 2
    assert name in answer["message"]
    assert f"is larger than {says}" in answer["message"]
    assert hub.sent[name] <= most


def test_another_host_that_keeps_the_weights_is_not_shown_the_login(desk: Desk, hub: Hub) -> None:
    before = weights_sent(hub)
    assert desk.plan("redirects").components == desk.plan("fine").components
    assert before == {}
    assert all(sent <= 2 * FIRST_BYTES for sent in weights_sent(hub).values())
    assert hub.elsewhere == {""}


def test_the_command_answers_for_a_repository(hub: Hub, tmp_path: Path) -> None:
    env = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "", "HF_HOME": str(tmp_path / "hf")}
    env |= {"AUTOTUNE_CACHE": str(tmp_path / "ours"), "NO_PROXY": "*"}
    asked = ("--model", "tiny/fine", "--gpu", "RTX 3060", "--vram", "12GB", "--json")
    first = run("estimate", *asked, folder=tmp_path, env=env)
    assert first.code == 0, first.err
    assert first.answer["tflop"]["unet"] > 0
    second = run("estimate", *asked, folder=tmp_path, env={**env, "HF_HUB_OFFLINE": "1"})
    assert (second.code, second.err) == (0, "")
    assert second.answer["best"] == first.answer["best"]
