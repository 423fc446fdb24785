"""The same recipe is written as the same bytes, readable again, and without private things."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autotune.errors import AutotuneError, BadInput
from autotune.recipe.private import blank_out, find_private
from autotune.recipe.read import parse_recipe, read_recipe
from autotune.recipe.write import render_recipe, write_recipe
from autotune.records import Workload
from autotune.status import Status
from tests.recipe.factory import make_recipe


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    write_recipe(make_recipe(), tmp_path / "recipe.json")
    assert read_recipe(tmp_path / "recipe.json") == make_recipe()


def test_replaces_a_recipe_only_when_told(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    write_recipe(make_recipe(), path)
    with pytest.raises(BadInput, match="exists"):
        write_recipe(make_recipe(), path)
    write_recipe(make_recipe(status="provisional"), path, overwrite=True)
    assert read_recipe(path).status == "provisional"


def test_reading_and_writing_again_changes_no_byte() -> None:
    data = render_recipe(make_recipe())
    assert render_recipe(parse_recipe(data)) == data


def test_is_text_that_diffs_well() -> None:
    data = render_recipe(make_recipe())
    assert data.endswith(b"}\n")
    assert data.count(b"\n") > 50


def test_keeps_a_prompt_as_it_is() -> None:
    prompts = ("a photo of /home/sweet/home", "“ünïcödé” 😀", "x" * 4096)
    recipe = make_recipe(workload=Workload(prompts=prompts))
    assert parse_recipe(render_recipe(recipe)).workload.prompts == prompts


def test_refuses_to_write_what_could_not_be_read() -> None:
    for wrong in (
        make_recipe(workload=Workload(steps=0)),
        make_recipe(workload=Workload(prompts=("x" * 4097,))),
    ):
        with pytest.raises(AutotuneError, match="could not be read again") as caught:
            render_recipe(wrong)
        assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("no file /home/ann/x.bin here", "no file <path> here"),
        ("'/usr/lib/python3/site-packages/torch/nn.py', line 3", "'<path>', line 3"),
        ("~/models/flux is gone", "<path> is gone"),
        ("~ann/models is gone", "<path> is gone"),
        (r"C:\Users\ann\x.bin is gone", "<path> is gone"),
        (r"\\server\share is gone", "<path> is gone"),
        ("file:///etc/passwd", "<path>"),
        ("token hf_abcdefghijklmnopqrst was refused", "token <secret> was refused"),
        ("https://ann:pa55@host/x failed", "https://<secret>host/x failed"),
        ("half \ud800 and \0", "half ? and ?"),
        ("3.2 it/s, 1/2 of https://huggingface.co/docs/x", None),
        ("transformer/diffusion_model.safetensors", None),
    ],
)
def test_blanks_out_paths_and_tokens(text: str, clean: str | None) -> None:
    assert blank_out(text) == (text if clean is None else clean)


@given(st.text() | st.text("/~@:.\\<>ab hf_sk-", max_size=60))
@example("://hf_aaaaaaaaaaaaaaaahf_aaaaaaaaaaaaaaaa@")  # blanking one out uncovers another
def test_nothing_private_is_left(text: str) -> None:
    clean = blank_out(text)
    assert find_private(clean) is None
    assert blank_out(clean) == clean


@given(st.text())
def test_any_reason_can_be_written(reason: str) -> None:
    recipe = make_recipe()
    refused = recipe.refused[0].but(reason=reason, status=Status.CRASHED)
    again = parse_recipe(render_recipe(recipe.but(refused=(refused,))))
    assert again.refused[0].reason == blank_out(reason)


def test_cuts_explanations_and_nothing_else() -> None:
    recipe = make_recipe()
    features = " ".join(f"feature{n}" for n in range(200))
    refused = recipe.refused[0].but(reason="because " * 1000)
    host = {**recipe.fingerprint.host, "cpu_features": features}
    fingerprint = recipe.fingerprint.but(host=host)
    again = parse_recipe(render_recipe(recipe.but(refused=(refused,), fingerprint=fingerprint)))
    assert len(again.refused[0].reason) == 1000
    assert again.fingerprint == fingerprint
