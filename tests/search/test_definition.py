"""Search-space files: what is shipped is valid, what is wrong is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.levers import load_levers
from autotune.models.catalog import load_catalog
from autotune.records import Fidelity
from autotune.search.definition import (
    load_definition,
    read_definition,
    shipped_folder,
    shipped_names,
)
from autotune.search.space import build_space
from tests.search.factory import make_device

#: The files that are not of a family.
GENERAL = {"default", "lossless", "thorough", "throughput"}


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_file_names_only_levers_and_choices_that_exist(name: str) -> None:
    definition = read_definition(shipped_folder() / f"{name}.toml")
    device = make_device()
    choices = [one for lever in load_levers().values() for one in lever.choices(device, None)]
    space = build_space(choices, definition, {})
    assert definition.about
    assert set(definition.levers) <= set(space.levers)


def test_the_default_space_has_an_entry_for_every_built_in_lever() -> None:
    definition = read_definition(shipped_folder() / "default.toml")
    assert set(definition.levers) == set(load_levers())


def test_every_family_file_belongs_to_a_family_of_the_catalogue() -> None:
    families = {entry.family for entry in load_catalog().entries}
    assert set(shipped_names()) - GENERAL == families


@pytest.mark.parametrize("name", sorted(set(shipped_names()) - {"default"}))
def test_every_file_says_why_and_only_what_differs(name: str) -> None:
    text = (shipped_folder() / f"{name}.toml").read_text()
    assert text.startswith("# ")
    default = read_definition(shipped_folder() / "default.toml")
    own = read_definition(shipped_folder() / f"{name}.toml")
    assert own.levers or own.quality is not default.quality
    same = [lever for lever, wanted in own.levers.items() if default.levers[lever] == wanted]
    order = [lever for lever in default.levers if lever in own.levers]
    # What is as in the default is named for its place: further up, or to come first.
    assert not same or list(own.levers) != order


@pytest.mark.parametrize("name", shipped_names())
def test_a_list_of_choices_begins_with_a_baseline(name: str) -> None:
    """Of whatever is stored: all of dtype's can be one."""
    baselines = {
        choice.lever: choice.id
        for lever in load_levers().values()
        for choice in lever.choices(make_device(), None)
        if choice.baseline
    }
    for lever, wanted in read_definition(shipped_folder() / f"{name}.toml").levers.items():
        if not isinstance(wanted, str) and lever != "dtype":
            assert wanted[0] == baselines[lever]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_unet_tries_layout_and_tracing_first(family: str) -> None:
    definition = load_definition(family)
    assert list(definition.levers)[:2] == ["channels-last", "compile"]
    assert definition.levers["compile"][:2] == ("none", "jit-trace")


@pytest.mark.parametrize("family", ["wan", "hunyuan-video", "cogvideox", "mochi"])
def test_a_video_model_tries_streaming_by_block_first(family: str) -> None:
    definition = load_definition(family)
    assert next(iter(definition.levers)) == "offload"
    assert definition.levers["offload"][:2] == ("none", "group-block-stream")


def test_batches_are_searched_for_throughput_only() -> None:
    for name in shipped_names():
        batch = load_definition(None, name).levers["batch"]
        assert batch == (("as-asked", "x4", "x2", "x8") if name == "throughput" else "baseline")


def test_thorough_opens_every_lever_but_what_changes_the_question() -> None:
    levers = load_definition("flux", "thorough").levers
    assert {name: wanted for name, wanted in levers.items() if wanted != "all"} == {
        "text-encoders": ("device", "host"),
        "batch": "baseline",
    }


def test_the_familys_file_overlays_the_default_and_the_asked_one_overlays_both(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[levers]\ndtype = ["fp16"]\n')
    default, flux = load_definition(None), load_definition("flux")
    asked = load_definition("flux", str(own))
    assert default.levers["dtype"] == ("bf16", "fp32", "fp16")
    assert flux.levers["dtype"] == ("bf16",)
    assert asked.levers["dtype"] == ("fp16",)
    assert flux.levers["attention"] == asked.levers["attention"] == default.levers["attention"]


def test_lossless_allows_nothing_that_changes_the_picture() -> None:
    assert load_definition("demo").quality is Fidelity.ANY
    definition = load_definition("demo", "lossless")
    assert definition.quality is Fidelity.EXACT
    assert definition.levers["attention"] == load_definition("demo").levers["attention"]


def test_an_unknown_shipped_space_lists_those_there_are() -> None:
    with pytest.raises(BadInput, match="no search space 'losless'") as caught:
        load_definition(None, "losless")
    assert "lossless" in str(caught.value.hint)


def test_a_key_with_a_line_break_stays_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text('[levers]\n"a\\nb\\u001b[31m" = []\n')
    with pytest.raises(BadInput) as caught:
        read_definition(path)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["missing.toml", "folder.toml", "x\0.toml"])
def test_what_is_not_a_readable_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(BadInput):
        load_definition(None, str(tmp_path / name))


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='[]{}="\\.,\n\t #levrsdtypfomab0123456789', max_size=200).map(str.encode),
        st.recursive(
            st.sampled_from([b'"fp32"', b"1", b"nan", b"true", b"[]", b"2026-01-02"]),
            lambda inner: st.lists(inner).map(lambda parts: b"[" + b",".join(parts) + b"]"),
        ).map(lambda value: b"[levers]\ndtype = " + value),
    )
)
def test_whatever_the_bytes_are_they_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(data)
    message, levers = "", {}
    try:
        levers = dict(read_definition(path).levers)
    except BadInput as refused:
        message = refused.message
    assert message.isprintable()
    for wanted in levers.values():
        assert wanted in ("all", "baseline") or all(isinstance(id, str) for id in wanted)
