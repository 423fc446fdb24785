"""`autotune book` and `autotune schema`, as commands."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from autotune.cli import book as command
from autotune.cli.parser import make_parser
from autotune.formats import FORMATS, schema_of
from autotune.probe import probe_machine
from autotune.probe.device import select_device
from autotune.probe.fingerprint import fingerprint
from autotune.recipe.read import read_recipe
from autotune.recipe.write import write_recipe
from tests.cli import test_commands
from tests.cli.command import Ended, run
from tests.cli.test_commands import BLOCKER
from tests.fleet.shelves import recipe
from tests.test_lookup import DEMO

MB = 1_000_000
HEAVY = ("torch", "diffusers", "transformers", "optuna", "ray", "rich")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three recipes of the demo for this machine."""
    folder = tmp_path_factory.mktemp("book")
    machine = probe_machine()
    here = fingerprint(machine, select_device(machine, "cpu"))
    for name, seconds, peak in (("fast", 1.0, 500), ("lean", 2.0, 300), ("poor", 3.0, 500)):
        made = recipe(
            seconds=seconds,
            peak=peak * MB,
            on=here,
            model=DEMO,
            size=256,
            steps=2,
            choices={"dtype": "bf16", "vae-tiling": name},
        )
        write_recipe(made, folder / f"{name}.json")
    return folder


def book(*arguments: str, folder: Path, **more: str) -> Ended:
    return run("book", *arguments, folder=folder, env={"AUTOTUNE_BOOK": "shared", **more})


FIND = ("find", "--model", "demo", "--device", "cpu", "--vram")


def test_the_life_of_a_book(folder: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "shared")

    def ask(*arguments: str) -> Ended:
        return book(*arguments, "--book", place, folder=folder)

    added = ask("add", "fast.json", "lean.json", "poor.json")
    assert (added.code, added.err) == (0, "")
    assert [line.split(":")[0] for line in added.out.splitlines()] == [
        *("fast.json added", "lean.json added", "poor.json added")
    ]
    assert ask("add", "fast.json", "--json").answer["added"][0]["new"] is False
    listed = ask("list")
    assert listed.out.count("256×256, 2 steps") == 3
    assert listed.err == f"3 recipes in {place}\n"
    found = ask(*FIND, "1GB", "--limit", "2", "--out", str(tmp_path / "best.json"))
    assert found.code == 0, found.err
    assert found.out.startswith(
        "  1  exact, confirmed on this card: 1.00 s an image, peak 477 MiB"
    )
    assert found.out.rstrip().endswith("1 more: --limit N shows them")
    assert read_recipe(tmp_path / "best.json") == read_recipe(folder / "fast.json")
    assert ask(*FIND, "1GB", "--out", str(tmp_path / "best.json")).code == 2
    answer = ask(*FIND, "400MB", "--json").answer
    (lean,) = answer["found"]
    assert (lean["match"], lean["status"]) == ("exact", "confirmed on this card")
    assert lean["choices"]["vae-tiling"] == "lean"
    assert answer["left_out"] == {"need more memory": 2}
    look = ask("prune", "--dry-run")
    assert "would remove" in look.out
    assert look.out.endswith("1 of 3 recipes would go\n")
    assert ask("prune", "--json").answer["removed"][0]["why"].startswith("slower than another")
    assert ask("prune").out == "0 of 2 recipes are gone\n"
    assert ask("list", "--model", "flux", "--json").answer == {"recipes": [], "skipped": {}}


def test_where_nothing_matches_the_exit_is_1_and_the_hint_is_to_measure(
    folder: Path, tmp_path: Path
) -> None:
    place = ("--book", str(tmp_path / "shared"))
    assert book("add", "fast.json", *place, folder=folder).code == 0
    for more in ((), ("--json",)):
        ended = book(*FIND, "100MB", *place, *more, folder=folder)
        assert ended.code == 1
        assert "1 need more memory (the leanest takes 477 MiB)" in ended.err
        assert "\n\nhint: autotune suggest --model demo --vram 100MB --add-to-book" in ended.err
        assert bool(ended.out) == bool(more)
    assert ended.answer["found"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("list",), 2, "there is no book in 'shared'"),
        (("list", "--book", "s3x://nowhere"), 2, "s3x://nowhere"),
        (("add", "nowhere.json"), 2, "nowhere.json"),
        (("add",), 2, "the following arguments are required: RECIPE"),
        (("find",), 2, "the following arguments are required: --model"),
        ((), 2, "the following arguments are required: WHAT"),
        ((*FIND, "1GB", "--limit", "0"), 2, "'0' is not a count for --limit"),
        ((*FIND, "1GB", "--force"), 2, "--force is for --out"),
        ((*FIND, "1GB", "--out", "nowhere/x.json"), 2, "nowhere/x.json"),
    ],
)
def test_errors_are_in_the_house_form(
    folder: Path, arguments: tuple[str, ...], code: int, error: str
) -> None:
    ended = book(*arguments, folder=folder)
    assert ended.code == code
    assert ended.err.startswith("error: ")
    assert error in ended.err
    assert "\n\nhint: " in ended.err
    assert (ended.out, "Traceback" in ended.err) == ("", False)
    assert not (folder / "shared").exists()


def test_broken_files_are_counted_and_named_on_standard_error(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "shared"
    assert book("add", "fast.json", "--book", str(place), folder=folder).code == 0
    for number in range(7):
        (place / f"broken-{number}.json").write_text("{")
    (place / "steers\x1b[2Jthe-terminal.json").write_text("{}")
    ended = book(*FIND, "1GB", "--book", str(place), "--json", folder=folder)
    assert ended.code == 0
    assert len(ended.answer["found"]) == 1
    assert len(ended.answer["skipped"]) == 8
    assert ended.err.startswith("skipped 8 files of the book:\n  broken-0.json: ")
    assert ended.err.endswith("  and 3 more\n")
    assert "\x1b" not in book("list", "--book", str(place), folder=folder).err


@pytest.mark.parametrize("example", [command._ADD, command._LIST, command.EXAMPLE, command._PRUNE])
def test_the_help_of_each_part_ends_with_an_example_that_parses(
    example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(example)[1:]
    assert make_parser().parse_args(words).command is command
    with pytest.raises(SystemExit):
        make_parser().parse_args([*words[:2], "--help"])
    assert capsys.readouterr().out.rstrip().endswith(f"example:\n  {example}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("book", *FIND, "1GB", "--book", "shared"),
        ("book", "list", "--book", "shared"),
        ("book", "prune", "--dry-run", "--book", "shared"),
        ("schema", "search-space"),
        ("schema", "recipe"),
    ],
)
def test_it_works_without_torch_diffusers_and_optuna_and_does_not_ask_for_them(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for name in ("fast.json", "lean.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert run("book", "add", "fast.json", "--book", "shared", folder=tmp_path).code == 0
    blocker = BLOCKER.replace(repr(test_commands.HEAVY), repr(HEAVY))
    assert "'rich'" in blocker
    (tmp_path / "sitecustomize.py").write_text(blocker)
    env = {"PYTHONPATH": str(tmp_path), "ASKED": str(tmp_path / "asked")}
    ended = run(*arguments, folder=tmp_path, env=env)
    assert ended.code == 0, ended.err
    assert ended.out
    asked = tmp_path / "asked"
    # Where torch lies is asked for its version, which is read from a file.
    only = {"torch"} if arguments[1] == "find" else set()
    assert not asked.exists() or set(asked.read_text().split()) <= only


# --------------------------------------------------------------------------------------- schema


def test_schema_lists_its_names_and_prints_each(tmp_path: Path) -> None:
    listed = run("schema", folder=tmp_path)
    assert [line.split()[0] for line in listed.out.splitlines()] == list(FORMATS)
    assert list(run("schema", "--json", folder=tmp_path).answer) == list(FORMATS)
    assert run("schema", "recipe", folder=tmp_path).answer == schema_of("recipe")


def test_an_unknown_schema_is_an_error_that_lists_them(tmp_path: Path) -> None:
    ended = run("schema", "recipes", folder=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: there is no format 'recipes'\n\nhint: one of {', '.join(FORMATS)}\n"
    )
    json.loads(run("schema", "study", folder=tmp_path).out)
