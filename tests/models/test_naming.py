"""What may stand after --model, and how each wrong name is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import AutotuneError, BadInput
from autotune.models.naming import DemoName, FolderName, HubName, parse_name


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("flux", "black-forest-labs/FLUX.1-dev", None),
        ("FLUX", "black-forest-labs/FLUX.1-dev", None),
        ("flux@refs/pr/7", "black-forest-labs/FLUX.1-dev", "refs/pr/7"),
        ("org/name", "org/name", None),
        ("org/name@main", "org/name", "main"),
        ("org_1/Name-2.0@" + "a" * 40, "org_1/Name-2.0", "a" * 40),
    ],
)
def test_names_of_the_hub(name: str, repository: str, revision: str | None) -> None:
    found = parse_name(name)
    assert isinstance(found, HubName)
    assert (found.repository, found.revision) == (repository, revision)


def test_a_hub_id_of_the_catalogue_is_recognised() -> None:
    found = parse_name("stabilityai/stable-diffusion-xl-base-1.0")
    assert isinstance(found, HubName)
    assert found.entry is not None
    assert found.entry.name == "sdxl"


def test_the_demo() -> None:
    assert isinstance(parse_name("demo"), DemoName)
    with pytest.raises(BadInput, match="demo has no revisions"):
        parse_name("demo@main")


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("flux", "org/name", "a b; $(x)", "模型"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("./flux", "./flux/", "flux/", "~/flux", str(tmp_path / "flux"), "org/../flux"):
        assert parse_name(name) == FolderName(folder=tmp_path / "flux"), name
    assert parse_name("org/name") == FolderName(folder=tmp_path / "org" / "name")
    assert parse_name("a b; $(x)") == FolderName(folder=tmp_path / "a b; $(x)")
    assert parse_name("./模型") == FolderName(folder=tmp_path / "模型")
    assert isinstance(parse_name("flux"), HubName), "the catalogue wins over a bare folder name"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "../x",
        "./x",
        "/no/such/folder",
        "/etc/passwd",
        "~root",
        "~root/x",
        "~nobody",
        "flux/",
        "org/name/",
        "org//name",
        "org/name/more",
        "org/na--me",
        "org/na..me",
        "org/.name",
        "org/name@",
        "org/name@../../x",
        "org/name@a b",
        "flux@",
        "flux\0",
        "flux\n",
        "\tflux",
        "flux\x1b[31m",
        "\ud800",
        "\u202eflux",
        ";",
        "flux;ls",
        "$(x)",
        "`x`",
        "a|b",
        "-x",
        "--help",
        "https://huggingface.co/org/name",
        "hf://org/name",
        "C:\\models\\x",
        "x" * 5000,
        "/" + "x" * 5000,
        "/" + "x" * 300,
        "./" + "x/" * 1500,
    ],
)
def test_a_malformed_name_is_one_sentence_and_a_hint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as error:
        parse_name(name)
    assert error.value.hint
    assert error.value.message.isprintable()
    assert len(error.value.message) < 200


def test_a_file_is_no_model(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(BadInput, match="is a file") as error:
        parse_name(str(file))
    assert "from_single_file" in (error.value.hint or "")


def test_links_that_go_round_or_nowhere_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("./round", "round", "./nowhere", "nowhere"):
        with pytest.raises(BadInput, match="there is no model folder"):
            parse_name(name)


@pytest.mark.parametrize(
    ("typo", "meant"), [("flx", "flux"), ("SDLX", "sdxl"), ("qwen-imag", "qwen-image")]
)
def test_a_typo_gets_close_matches(typo: str, meant: str) -> None:
    with pytest.raises(BadInput, match=f"there is no model '{typo}'") as error:
        parse_name(typo)
    assert meant in (error.value.hint or "")


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(BadInput) as error:
        parse_name("zzzzzzzz")
    assert "sdxl" in (error.value.hint or "")


@given(st.text(max_size=40) | st.text("ab./~@-$;\\ \n", max_size=12))
def test_no_text_does_anything_but_be_understood_or_refused(text: str) -> None:
    refused = None
    try:
        parse_name(text)
    except AutotuneError as error:
        refused = error
    assert refused is None or (refused.hint and refused.message.isprintable())
