"""Models from the hub, against one on this machine; a fresh process for each set of variables."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

from autotune.errors import BadInput, ModelUnavailable
from autotune.models import hub as hub_module
from autotune.models.hub import fetch, wanted
from autotune.models.index import Index, Part
from tests.models.loopback import COMMIT, Hub, serve

ROOT = Path(__file__).parents[2]
CANARY = "hf_canaryThatNobodyMaySee"
ASK = """
import json, sys
from autotune.errors import AutotuneError
from autotune.models.resolve import resolve
for name in sys.argv[1:]:
    try:
        answer = {"model": resolve(name).model_dump(mode="json")}
    except AutotuneError as error:
        answer = {"code": int(error.exit_code), "message": error.message, "hint": error.hint}
    print(json.dumps(answer))
"""


@dataclass
class Desk:
    """A user with a cache, who asks for models."""

    hub: Hub
    home: Path
    said: str = ""

    def ask(self, *names: str, **environment: str) -> list[dict[str, Any]]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        variables = {
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HOME": str(self.home),
            "HF_TOKEN": CANARY,
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "*",
            "PYTHONPATH": str(ROOT),
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK, *(f"tiny/{name}" for name in names)],
            env={**clean, **variables, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.said += done.stdout + done.stderr
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def snapshot(self, name: str) -> Path:
        return self.home / "hub" / f"models--tiny--{name}" / "snapshots" / COMMIT


@pytest.fixture(scope="module")
def hub(tiny: Callable[[str], Path]) -> Iterator[Hub]:
    with serve(tiny("sd15")) as running:
        yield running


@pytest.fixture
def desk(hub: Hub, tmp_path: Path) -> Desk:
    return Desk(hub, tmp_path)


def _refused_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_each_refusal_has_its_own_sentence_and_hint(desk: Desk) -> None:
    expected = {
        "gated": ("tiny/gated is gated", "accept it on https://127.0.0.1/tiny/gated"),
        "private": ("shows no model tiny/private to you", "hf auth login"),
        "bad-token": ("refused the login for tiny/bad-token", "hf auth login"),
        "forbidden": ("forbids access to tiny/forbidden", "hf auth login"),
        "absent": ("has no model tiny/absent", "check the spelling"),
        "busy": ("asks for fewer requests", "wait"),
        "broken": ("answered 500 for tiny/broken", "later"),
        "stalls": ("did not answer in time for tiny/stalls", "later"),
        "resets": ("cannot be reached for tiny/resets", "network"),
        "fine@v9": ("tiny/fine has no revision 'v9'", "leave out @revision"),
    }
    for (name, (message, hint)), answer in zip(expected.items(), desk.ask(*expected), strict=True):
        assert answer["code"] == 3, name
        assert message in answer["message"]
        assert hint in answer["hint"]
    assert CANARY not in desk.said
    assert f"Bearer {CANARY}" in desk.hub.tokens


def test_what_autotune_will_not_load_is_refused_before_the_weights_come(desk: Desk) -> None:
    no_index, pickled, code = desk.ask("no-index", "pickled", "code")
    assert "is not a diffusers pipeline" in no_index["message"]
    assert "are pickled" in pickled["message"]
    assert "needs Python code of its own" in code["message"]
    assert {no_index["code"], pickled["code"], code["code"]} == {2}
    assert not list(desk.home.rglob("*.safetensors"))


def test_downloads_what_is_needed_and_pins_the_commit(desk: Desk) -> None:
    (answer,) = desk.ask("fine")
    model = answer["model"]
    assert (model["id"], model["revision"], model["source"]) == ("tiny/fine", COMMIT, "hub")
    assert Path(model["folder"]) == desk.snapshot("fine")
    assert model["weights"] == "real"
    got = {str(path.relative_to(model["folder"])) for path in Path(model["folder"]).rglob("*.*")}
    assert "unet/diffusion_pytorch_model.safetensors" in got
    assert "tokenizer/tokenizer.json" in got
    assert not {name for name in got if name.endswith((".bin", ".msgpack", ".md"))}
    assert "flux1-dev.safetensors" not in got


def test_the_cached_copy_is_used_when_the_hub_is_out_of_reach(desk: Desk) -> None:
    (before,) = desk.ask("fine")
    for variables in ({"HF_ENDPOINT": _refused_port()}, {"HF_HUB_OFFLINE": "1"}):
        again, absent = desk.ask("fine", "absent", **variables)
        assert again == before
        assert absent["code"] == 3
        assert "tiny/absent" in absent["message"]
    (by_commit,) = desk.ask(f"fine@{COMMIT}", HF_HUB_OFFLINE="1")
    assert by_commit == before


def test_an_incomplete_cached_copy_is_not_used(desk: Desk) -> None:
    desk.ask("fine")
    (desk.snapshot("fine") / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (offline,) = desk.ask("fine", HF_ENDPOINT=_refused_port())
    assert offline["code"] == 3
    assert "cannot be reached" in offline["message"]
    assert "incomplete" in offline["message"]
    shutil.rmtree(desk.snapshot("fine") / "vae")
    (offline,) = desk.ask("fine", HF_HUB_OFFLINE="1")
    assert "incomplete" in offline["message"]
    (online,) = desk.ask("fine")
    assert online["model"]["revision"] == COMMIT


def test_a_passing_failure_is_tried_again(desk: Desk) -> None:
    flaky, truncated = desk.ask("flaky", "truncates")
    assert flaky["model"]["revision"] == COMMIT
    assert truncated["model"]["revision"] == COMMIT


def test_a_file_that_comes_broken_twice_is_given_up(desk: Desk) -> None:
    (answer,) = desk.ask("corrupt")
    assert answer["code"] == 3
    assert "unet/diffusion_pytorch_model.safetensors" in answer["message"]
    assert "8 bytes are missing" in answer["message"]
    assert desk.hub.asked["corrupt unet/diffusion_pytorch_model.safetensors"] == 2


def test_a_file_that_broke_in_the_cache_is_downloaded_again(desk: Desk) -> None:
    desk.ask("fine")
    place = desk.snapshot("fine") / "unet" / "diffusion_pytorch_model.safetensors"
    whole = place.read_bytes()
    place.resolve().write_bytes(whole[:1000])
    (answer,) = desk.ask("fine")
    assert answer["model"]["revision"] == COMMIT
    assert place.read_bytes() == whole


def test_a_malformed_token_or_endpoint_is_one_sentence_without_the_token(desk: Desk) -> None:
    for variables in ({"HF_TOKEN": f"{CANARY}\x07é"}, {"HF_ENDPOINT": "hub"}):
        (answer,) = desk.ask("fine", **variables)
        assert answer["code"] == 3
        assert "tiny/fine" in answer["message"]
    assert CANARY not in desk.said


def test_a_full_disk_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def full(repository: str, revision: str | None) -> NoReturn:
        tried.append(repository)
        raise OSError(errno.ENOSPC, "No space left on device", "/home/somebody")

    monkeypatch.setattr(hub_module, "_download", full)
    with pytest.raises(ModelUnavailable, match="no space is left on the disk for tiny/none@v1"):
        fetch("tiny/none", "v1")
    assert tried == ["tiny/none"]


def test_a_misspelt_repository_gets_a_close_match() -> None:
    assert "black-forest-labs/FLUX.1-dev" in hub_module._spelling("black-forest-lab/FLUX.1-dev")


def _index(**libraries: str) -> Index:
    parts = [Part(name=k, library=v, class_name="Thing") for k, v in libraries.items()]
    return Index(pipeline="FluxPipeline", parts=tuple(parts))


def test_wants_shards_of_the_plain_set_and_nothing_twice() -> None:
    shards = [f"transformer/diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    needed = [
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        *shards,
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
    ]
    others = [
        "flux1-dev.safetensors",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
        "text_encoder/pytorch_model.bin",
        "transformer/old/config.json",
        "unused/config.json",
        "vae_decoder/model.onnx",
    ]
    index = _index(transformer="diffusers", text_encoder="transformers")
    assert wanted([*others, *needed], index) == needed


def test_a_lone_variant_is_refused() -> None:
    with pytest.raises(BadInput, match="exist only as"):
        wanted(["unet/diffusion_pytorch_model.fp16.safetensors"], _index(unet="diffusers"))
