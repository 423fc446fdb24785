"""The house rules (design §3, §10, §11): where things lie, how large, what they declare."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import statistics
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sources import ROOT, imports_of, modules, repository_files, tree_of

FOLDERS = {"autotune", "search_spaces", "tests", "examples"}
FILES = {"pyproject.toml", "tox.ini", "constraints.txt"} | {
    *("README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
}

LONGEST_FILE = 400
LONGEST_MEDIAN = 110
#: A function fits a screen; its docstring may be read elsewhere, and a table is not a function.
LONGEST_FUNCTION = 60
TABLES = {"autotune.models.demo.build.write_demo"}
#: Names that say nothing of what is inside.
BANNED = {"util", "utils", "helper", "helpers", "misc", "common", "manager", "handler"}

#: Import names that differ from the name of what is installed.
DISTRIBUTION = {
    "pynvml": "nvidia-ml-py",
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "optimum": "optimum-quanto",
}
#: Imported, but a part of something declared that pins it exactly.
PART_OF = {"pydantic_core": "pydantic"}
#: Declared, but imported by nothing of ours.
FOR_OTHERS = {
    "xformers": "diffusers attends with it",
    "safetensors": "diffusers loads and saves weights with it",
}

PACKAGE_MODULES = sorted(modules())


# ---------------------------------------------------------------------------- where things lie


def test_the_top_level_has_the_folders_of_the_design_and_no_other() -> None:
    folders = {file.parts[0] for file in repository_files() if len(file.parts) > 1}
    assert {name for name in folders if not name.startswith(".")} == FOLDERS


def test_the_top_level_has_the_files_of_the_design_and_no_other() -> None:
    files = {file.name for file in repository_files() if len(file.parts) == 1}
    assert {name for name in files if not name.startswith(".")} == FILES


def test_no_name_says_nothing() -> None:
    words = {
        file: set(re.split(r"[^a-z]+", part.lower()))
        for file in repository_files()
        for part in file.parts
    }
    assert [str(file) for file, found in words.items() if found & BANNED] == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    # "home/ann" and the like are invented by tests of what must not get into a recipe.
    paths = re.compile(
        r"/root/|/(?:home|Users)/(?!ann\b|sweet\b|somebody\b)[a-z]|/tmp/(?!autotune)[a-z]"
    )
    found = [
        f"{file}, line {number}: {match[0]}"
        for file, text in _texts()
        if file != Path("tests/test_house.py")
        for number, line in enumerate(text.splitlines(), 1)
        if (match := paths.search(line))
    ]
    assert found == []


def test_no_file_holds_a_path_of_this_checkout_or_interpreter() -> None:
    here = {str(ROOT), str(Path.home()), sys.prefix, sys.base_prefix}
    telling = [path for path in here if path.count("/") > 1 and path not in ("/usr/local",)]
    assert [f"{file}: {path}" for file, text in _texts() for path in telling if path in text] == []


def _texts() -> Iterator[tuple[Path, str]]:
    for file in repository_files():
        try:
            yield file, (ROOT / file).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


# -------------------------------------------------------------------------------- how large


def _lines(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def test_no_source_file_is_longer_than_the_budget() -> None:
    sources = [file for file in repository_files() if file.suffix in (".py", ".toml", ".c")]
    long = {str(file): _lines(file) for file in sources if _lines(file) > LONGEST_FILE}
    assert long == {}


def test_half_of_the_package_fits_the_median() -> None:
    assert statistics.median(_lines(path) for path in modules().values()) <= LONGEST_MEDIAN


def test_every_function_of_the_package_fits_a_screen() -> None:
    long = {}
    for module in PACKAGE_MODULES:
        for node in ast.walk(tree_of(modules()[module])):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            told = len((ast.get_docstring(node, clean=False) or "").splitlines())
            length = (node.end_lineno or node.lineno) - node.lineno + 1 - told
            if length > LONGEST_FUNCTION:
                long[f"{module}.{node.name}"] = length
    assert set(long) <= TABLES, long


@pytest.mark.parametrize("module", PACKAGE_MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(tree_of(modules()[module]))


# ------------------------------------------------------------------------------ what it runs

#: Libraries whose files run code when they are read.
_UNSAFE = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
_UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
_UNSAFE_ATTRIBUTES = {
    *("os.system", "os.popen", "torch.load", "yaml.load", "pickle.load", "pickle.loads"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
}


@pytest.mark.parametrize("module", PACKAGE_MODULES)
def test_no_module_runs_what_it_reads(module: str) -> None:
    """Design D4: no pickle, no eval, no shell, anywhere."""
    imported = {one.module.partition(".")[0] for one in imports_of(module)}
    assert not imported & _UNSAFE
    for call in ast.walk(tree_of(modules()[module])):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        assert name not in _UNSAFE_CALLS | _UNSAFE_ATTRIBUTES, f"line {call.lineno}: {name}"
        for keyword in call.keywords:
            shell = keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
            remote = keyword.arg == "trust_remote_code" and ast.unparse(keyword.value) == "True"
            assert not shell, f"line {call.lineno}: a shell"
            assert not remote, f"line {call.lineno}: remote code"


#: What makes records of bytes: the strict readers, and what reads data of this package itself,
#: what a process of ours has just written to a pipe or a command line, or a cache whose digest
#: fits and that is never believed.
_READERS = {
    *("autotune.stored", "autotune.recipe.read", "autotune.search.recorded"),
    *("autotune.models.catalog", "autotune.estimate.efficiency"),
    *("autotune.estimate.ceilings", "autotune.trial.zygote", "autotune.fleet.index"),
}


def test_only_the_strict_readers_make_records_of_bytes() -> None:
    found = {
        module
        for module in PACKAGE_MODULES
        for node in ast.walk(tree_of(modules()[module]))
        if isinstance(node, ast.Attribute) and node.attr == "model_validate_json"
    }
    assert found == _READERS


#: What is said of the inside of a file, by what adds the file and the hint.
_INNER = {"autotune.models.weights"}


def test_every_error_says_what_to_do() -> None:
    errors = {
        name
        for name, kind in vars(importlib.import_module("autotune.errors")).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    mute = [
        f"{module}, line {call.lineno}"
        for module in PACKAGE_MODULES
        if module not in _INNER
        for call in ast.walk(tree_of(modules()[module]))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func) in errors | {"OutOfReach"}
        and not any(keyword.arg == "hint" for keyword in call.keywords)
    ]
    assert mute == []


# --------------------------------------------------------------------------- what is declared


def _project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def _declared() -> set[str]:
    texts = _project()["project"]["dependencies"]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def _in_extras() -> set[str]:
    """What a user may add: no choice is offered without it, and nothing else needs it."""
    extras = _project()["project"]["optional-dependencies"]
    texts = [*extras["quantizers"], *extras["quality"], *extras["remote"]]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def _imported() -> dict[str, str]:
    """Third-party distributions that the package imports, each with one importer."""
    found = {}
    for module in PACKAGE_MODULES:
        for one in imports_of(module):
            top = one.module.partition(".")[0]
            if top not in sys.stdlib_module_names and top != "autotune":
                found[canonicalize_name(DISTRIBUTION.get(top, top))] = str(one)
    return found


def test_everything_imported_is_declared() -> None:
    declared = _declared() | {canonicalize_name(part) for part in PART_OF} | _in_extras()
    assert {name: by for name, by in _imported().items() if name not in declared} == {}


def test_everything_declared_is_imported_or_there_for_a_reason() -> None:
    assert _declared() - set(_imported()) == set(FOR_OTHERS)


def test_the_tested_set_pins_everything_declared_and_satisfies_it() -> None:
    pins = _pins()
    for text in _project()["project"]["dependencies"]:
        wanted = Requirement(text)
        pinned = pins.get(canonicalize_name(wanted.name))
        assert pinned is not None, f"constraints.txt does not pin {wanted.name}"
        assert wanted.specifier.contains(pinned), f"{wanted.name} {pinned} is not {wanted}"


def test_the_tested_set_pins_the_tools_of_every_extra() -> None:
    pins = _pins()
    extras = _project()["project"]["optional-dependencies"]
    wanted = [Requirement(text) for texts in extras.values() for text in texts]
    missing = [one.name for one in wanted if canonicalize_name(one.name) not in pins]
    assert missing == []


def _pins() -> dict[str, str]:
    """Names and versions of constraints.txt, which pins exactly or not at all."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in (line.partition("#")[0].strip() for line in lines):
        if line:
            (pin,) = Requirement(line).specifier
            assert pin.operator == "==", f"{line} is not a pin"
            pins[canonicalize_name(Requirement(line).name)] = pin.version
    return pins


def test_the_promised_pythons_are_the_classified_ones() -> None:
    project = _project()["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert project["requires-python"] == f">={classified[0]}"
    assert f"py{classified[0].replace('.', '')}" == _project()["tool"]["ruff"]["target-version"]


# ------------------------------------------------------------------------ levers and commands


def test_every_lever_has_a_row_in_the_contract() -> None:
    from autotune.levers import BUILT_IN

    rows = importlib.import_module("tests.contract.rows")
    known = {name for value in vars(rows).values() for name in _names(value)}
    names = {importlib.import_module(f"autotune.levers.{module}").name for module in BUILT_IN}
    assert names - known == set()


def _names(rows: object) -> Iterator[str]:
    """The lever names of a table: keys of a mapping, or of each row its first or named field."""
    if isinstance(rows, dict):
        yield from (key for key in rows if isinstance(key, str))
    elif isinstance(rows, (list, tuple)):
        for row in rows:
            first = row[0] if isinstance(row, tuple) and row else None
            for name in (first, getattr(row, "lever", None), getattr(row, "name", None)):
                if isinstance(name, str):
                    yield name


def _commands() -> tuple[str, ...]:
    from autotune.cli.parser import COMMANDS

    return COMMANDS


@pytest.mark.parametrize("name", _commands())
def test_the_example_of_every_command_is_one_the_parser_takes(name: str) -> None:
    from autotune.cli.parser import make_parser

    command = importlib.import_module(f"autotune.cli.{name}")
    program, *words = shlex.split(command.EXAMPLE)
    assert (program, words[0]) == ("autotune", name)
    assert make_parser().parse_args(words).command is command


@pytest.mark.parametrize("name", _commands())
def test_the_summary_of_every_command_is_one_plain_line(name: str) -> None:
    summary = importlib.import_module(f"autotune.cli.{name}").SUMMARY
    assert summary == summary.strip()
    assert "\n" not in summary
    assert summary[0].islower()
    assert not summary.endswith(".")


@pytest.mark.parametrize("words", [[], *([name] for name in _commands())])
def test_help_ends_with_an_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from autotune.cli.parser import make_parser

    with pytest.raises(SystemExit) as end:
        make_parser().parse_args([*words, "--help"])
    assert end.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    *_, title, example = printed.out.strip().splitlines()
    assert title == "example:"
    assert example.startswith(f"  autotune {' '.join(words)}".rstrip())
    assert make_parser().parse_args(shlex.split(example)[1:]).command


def test_every_command_has_a_file_and_every_file_of_a_command_is_listed() -> None:
    found = {
        path.stem
        for path in (ROOT / "autotune" / "cli").glob("*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "add_arguments"
            for node in tree_of(path).body
        )
    }
    assert found == set(_commands())


def test_the_public_names_are_those_of_the_design_and_each_is_there() -> None:
    import autotune

    functions = {
        *("suggest", "suggest_each", "verify", "compare", "load_recipe", "build"),
        *("find_recipe", "apply", "export", "probe", "Recipe"),
    }
    assert functions <= set(autotune.__all__)
    errors = set(autotune.__all__) - functions
    assert all(issubclass(getattr(autotune, name), Exception) for name in errors)
    assert all(callable(getattr(autotune, name)) for name in functions)
