"""`autotune replay` as people and programs use it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autotune.search.recorded import write_recorded
from tests.cli.command import run
from tests.search.test_replay import table


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "space.jsonl"
    write_recorded(path, table(), overwrite=False)
    return path


def large(file: Path) -> Path:
    """The same in megabytes."""
    lines = []
    for line in file.read_text().splitlines():
        one = json.loads(line)
        if "device" in one:
            one["device"]["total_bytes"] *= 10**6
        else:
            one["predicted"]["peak_bytes"] *= 10**6
            if one["peak_bytes"]:
                one["peak_bytes"] *= 10**6
        lines.append(json.dumps(one))
    file.write_text("\n".join(lines))
    return file


def test_json_is_the_object_of_the_design(file: Path) -> None:
    ended = run(
        "replay", str(large(file)), "--vram", "60%", "--trials", "7", "--seeds", "3", "--json",
        folder=file.parent,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.err == ""
    answer = ended.answer
    assert answer.keys() == {"optimum_latency_s", "runs"}
    assert [one["seed"] for one in answer["runs"]] == [0, 1, 2]
    for one in answer["runs"]:
        assert one.keys() == {"seed", "best_latency_s", "ratio", "trials"}
        assert one["ratio"] == one["best_latency_s"] / answer["optimum_latency_s"] >= 1
        assert [trial["n"] for trial in one["trials"]] == list(range(1, 8))
        assert all(t.keys() == {"n", "best_latency_s", "charged_s"} for t in one["trials"])


def test_people_see_the_space_the_best_and_how_far_the_search_was(file: Path) -> None:
    ended = run("replay", str(large(file)), "--vram", "1.8GB", "--seeds", "2", folder=file.parent)
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].startswith("space    240 candidates: 225 measured, 15 crashed")
    assert lines[1] == "budget   1.8 GB (1.68 GiB)"
    assert lines[2].startswith("best     ")
    assert lines[3] == "search   shortlist, 2 seeds, 20 trials at the most"
    assert lines[5].split() == [
        "after",
        "trials",
        "median",
        "ratio",
        "within",
        "5",
        "%",
        "charged",
    ]
    assert [line.split()[0] for line in lines[6:]] == ["5", "10", "20"]


def test_where_nothing_fits_the_status_is_1_and_ratios_are_null(file: Path) -> None:
    ended = run(
        "replay", str(large(file)), "--vram", "900MB", "--seeds", "1", "--json", folder=file.parent
    )
    assert ended.code == 1
    assert ended.answer["optimum_latency_s"] is None
    assert ended.answer["runs"][0]["ratio"] is None
    said = run("replay", str(file), "--vram", "900MB", "--seeds", "1", folder=file.parent)
    assert said.code == 1
    assert "nothing in the table fits" in said.out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("nowhere.jsonl", "--vram", "1GB"), "nowhere.jsonl"),
        (("space.jsonl", "--vram", "1"), "1"),
        (("space.jsonl", "--vram", "9GB"), "'9GB' is larger than the device"),
        (("space.jsonl", "--vram", "1GB", "--trials", "0"), "'0' is not a count for trials"),
        (("space.jsonl", "--vram", "1GB", "--seeds", "-1"), "seeds"),
        (("space.jsonl", "--vram", "1GB", "--sampler", "none"), "there is no sampler 'none'"),
        (("space.jsonl",), "--vram"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_hint(
    file: Path, arguments: tuple[str, ...], error: str
) -> None:
    large(file)
    ended = run("replay", *arguments, folder=file.parent)
    assert ended.code == 2
    assert error in ended.err
    assert "hint: " in ended.err
    assert "Traceback" not in ended.err


def test_a_table_answers_no_larger_budget_than_it_was_recorded_within(file: Path) -> None:
    text = large(file).read_text()
    file.write_text(text.replace('"total_bytes"', '"budget_bytes": 1800000000, "total_bytes"'))
    arguments = ("replay", str(file), "--seeds", "1", "--vram")
    assert run(*arguments, "1.8GB", folder=file.parent).code == 0
    refused = run(*arguments, "1.9GB", folder=file.parent)
    assert refused.code == 2
    assert (
        "'1.9GB' is more than the 1.8 GB (1.68 GiB) the table was recorded within" in refused.err
    )


def test_a_table_that_does_not_say_how_large_its_device_is_takes_sizes_only(file: Path) -> None:
    large(file)
    text = file.read_text().replace('"total_bytes": 3000000000', '"name": "a card"')
    file.write_text(text)
    arguments = ("replay", str(file), "--seeds", "1", "--vram")
    assert run(*arguments, "1.8GB", folder=file.parent).code == 0
    refused = run(*arguments, "80%", folder=file.parent)
    assert refused.code == 2
    assert "does not say how large its device is" in refused.err
