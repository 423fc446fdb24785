"""Who must never import what (design §9), read from the source and, where it costs time, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.sources import ROOT, Import, chains_at_import, imports_of, is_within, modules

#: Seconds to import, or a licence to touch a device: never by importing a module of ours.
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "bitsandbytes", "xformers", "torchao")
#: What ``import autotune`` and ``autotune --help`` must not wait for.
SLOW = (*HEAVY, "optuna", "ray", "pydantic", "rich", "pynvml", "numpy", "huggingface_hub", "PIL")

#: Modules that alone may import a library.
SOLE_IMPORTERS = {
    "pynvml": {"autotune.probe.nvml"},
    "optuna": {f"autotune.search.{name}" for name in ("sampler", "samplers", "proposals")},
    "ray": {"autotune.engine.ray"},
    "fsspec": {"autotune.fleet.remote"},
}

#: The bottom of the house, and what each may import beside the standard library.
_PLAIN = ("autotune.errors", "autotune.units", "autotune.strict_json", "autotune.files")
BOTTOM = {
    "autotune.errors": (),
    "autotune.units": _PLAIN,
    "autotune.strict_json": _PLAIN,
    "autotune.files": _PLAIN,
    "autotune.status": _PLAIN,
    "autotune.records": (*_PLAIN, "pydantic", "autotune.status"),
    "autotune.stats": (*_PLAIN, "pydantic", "autotune.records", "autotune.stats"),
    "autotune.stats.compare": (*_PLAIN, "autotune.stats.pairs"),
    "autotune.stats.pace": (*_PLAIN, "pydantic", "autotune.records", "autotune.stats"),
    "autotune.stats.pairs": (*_PLAIN, "autotune.stats.summary"),
    "autotune.stats.stability": (*_PLAIN, "autotune.stats.summary"),
    "autotune.stats.summary": (*_PLAIN, "pydantic", "autotune.records", "autotune.stats"),
}

#: Layers, and what nothing in them may import, not even inside a function.
_READING = ("schema", "read", "write", "check", "claims", "explain", "looks", "private")
NEVER = {
    **{
        f"autotune.recipe.{name}": (
            *HEAVY,
            "optuna",
            "autotune.levers",
            "autotune.engine",
            "autotune.search",
            "autotune.trial",
        )
        for name in _READING
    },
    "autotune.levers": ("autotune.search", "autotune.engine", "autotune.cli", "autotune.recipe"),
    "autotune.trial": ("optuna", "ray", "autotune.cli", "autotune.search", "autotune.engine"),
    "autotune.engine": (*HEAVY, "optuna", "autotune.levers", "autotune.cli"),
    "autotune.search": (*HEAVY, "ray", "autotune.cli"),
    **{
        f"autotune.fleet.{name}": (
            *HEAVY,
            "optuna",
            "ray",
            "autotune.levers",
            "autotune.search",
            "autotune.engine",
            "autotune.trial",
            "autotune.cli",
        )
        for name in ("book", "find", "index", "prune", "remote", "row", "store")
    },
    "autotune.probe": ("diffusers", "transformers", "autotune.trial", "autotune.search"),
    "autotune.report": (*HEAVY, "optuna", "ray", "autotune.cli", "autotune.engine"),
}


def _all_imports() -> list[Import]:
    return [one for module in modules() for one in imports_of(module)]


def _refuse(offences: list[Import]) -> None:
    assert not offences, "\n".join(map(str, offences))


@pytest.mark.parametrize("library", SOLE_IMPORTERS)
def test_a_library_has_no_importer_but_its_own(library: str) -> None:
    _refuse(
        [
            one
            for one in _all_imports()
            if is_within(one.module, library) and one.importer not in SOLE_IMPORTERS[library]
        ]
    )


def test_no_module_imports_torch_or_diffusers_when_it_is_imported() -> None:
    _refuse(
        [
            one
            for one in _all_imports()
            if one.at_import and any(is_within(one.module, library) for library in HEAVY)
        ]
    )


@pytest.mark.parametrize("module", BOTTOM)
def test_the_bottom_of_the_house_imports_nothing_above_it(module: str) -> None:
    _refuse([one for one in imports_of(module) if not _is_allowed(one.module, BOTTOM[module])])


def _is_allowed(module: str, allowed: tuple[str, ...]) -> bool:
    standard = module.partition(".")[0] in sys.stdlib_module_names
    return standard or module in allowed


def test_the_list_of_the_bottom_is_complete() -> None:
    for name in ("errors", "units", "strict_json", "files", "records", "stats"):
        inside = {module for module in modules() if is_within(module, f"autotune.{name}")}
        assert inside <= set(BOTTOM)


@pytest.mark.parametrize("layer", NEVER)
def test_a_layer_never_imports_what_it_must_not(layer: str) -> None:
    inside = [module for module in modules() if is_within(module, layer)]
    assert inside, f"there is no {layer}: the table is out of date"
    _refuse(
        [
            one
            for module in inside
            for one in imports_of(module)
            if any(is_within(one.module, banned) for banned in NEVER[layer])
        ]
    )


@pytest.mark.parametrize("layer", NEVER)
def test_a_layer_does_not_reach_what_it_must_not_through_others(layer: str) -> None:
    for module in modules():
        if not is_within(module, layer):
            continue
        for reached, chain in chains_at_import(module).items():
            banned = [name for name in NEVER[layer] if is_within(reached, name)]
            path = "\n".join(map(str, chain))
            assert not banned, f"{module} reaches {reached}:\n{path}"


LEVERS = "autotune.levers"
MECHANISMS = "autotune.levers.mechanisms"
#: What the folder of the levers holds beside them: the protocol, and the table of rules.
_BESIDE_LEVERS = {
    LEVERS,
    *(f"{LEVERS}.{name}" for name in ("base", "plan", "rule", "rules", "script")),
}


def _levers() -> set[str]:
    from autotune.levers import BUILT_IN

    return {f"{LEVERS}.{name}" for name in BUILT_IN}


def _mechanisms() -> set[str]:
    return {module for module in modules() if is_within(module, MECHANISMS)}


def test_among_the_levers_lies_nothing_else() -> None:
    inside = {module for module in modules() if is_within(module, LEVERS)}
    assert inside == _levers() | _mechanisms() | _BESIDE_LEVERS


def test_a_lever_knows_records_errors_and_the_protocol_and_no_sibling() -> None:
    allowed = _mechanisms() | {"autotune.records", "autotune.errors"}
    allowed |= {f"{LEVERS}.base", f"{LEVERS}.plan", f"{LEVERS}.script"}
    allowed |= {"autotune.files", "autotune.strict_json"}  # a component's configuration is read
    _refuse(
        [
            one
            for module in _levers() | _mechanisms()
            for one in imports_of(module)
            if is_within(one.module, "autotune")
            and one.module not in allowed
            and one.module.rpartition(".")[0] not in allowed
        ]
    )


def test_every_mechanism_is_used_by_a_lever() -> None:
    reached: set[str] = set()
    left = list(_levers())
    while left:
        module = left.pop()
        if module not in reached:
            reached.add(module)
            left += [one.module for one in imports_of(module) if is_within(one.module, LEVERS)]
    used = reached | {module.rpartition(".")[0] for module in reached}
    assert _mechanisms() - used == set()


def test_of_the_trial_an_engine_knows_only_the_wire() -> None:
    def allowed(one: Import) -> bool:
        debugging = one.importer == "autotune.engine.debug" and not one.at_import
        return one.module == "autotune.trial.wire" or debugging

    inside = [module for module in modules() if is_within(module, "autotune.engine")]
    found = [one for module in inside for one in imports_of(module)]
    _refuse([one for one in found if is_within(one.module, "autotune.trial") and not allowed(one)])


def test_no_command_imports_anything_slow_when_it_is_imported() -> None:
    inside = [module for module in modules() if is_within(module, "autotune.cli")]
    _refuse(
        [
            one
            for module in inside
            for one in imports_of(module)
            if one.at_import and one.module.partition(".")[0] in SLOW
        ]
    )


def test_the_command_line_reaches_nothing_slow_by_being_imported() -> None:
    from autotune.cli.parser import COMMANDS

    for module in ("autotune", "autotune.cli", *(f"autotune.cli.{name}" for name in COMMANDS)):
        for reached, chain in chains_at_import(module).items():
            path = "\n".join(map(str, chain))
            assert reached.partition(".")[0] not in SLOW, f"{module} reaches {reached}:\n{path}"


@pytest.mark.parametrize(
    "statement",
    [
        "import autotune",
        "import autotune.cli",
        "import autotune.cli.parser; autotune.cli.parser.make_parser()",
        "import autotune.errors, autotune.units, autotune.files",
    ],
)
def test_nothing_slow_is_loaded_by(statement: str) -> None:
    assert _loaded(statement, SLOW) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import autotune.recipe.read, autotune.recipe.check, autotune.recipe.write",
        "import autotune.report.recipe, autotune.recipe.export",
        "import autotune.report.book, autotune.formats",
        "import autotune.lookup, autotune.fleet.find, autotune.fleet.prune",
        "import autotune.probe.device, autotune.probe.fingerprint",
        "from autotune.levers import load_levers; load_levers()",
        "import autotune.engine.local, autotune.engine.debug, autotune.search.study",
    ],
)
def test_no_heavy_library_is_loaded_by(statement: str) -> None:
    assert _loaded(statement, HEAVY) == []


@pytest.mark.parametrize("blocked", [("torch", "diffusers"), ("optuna", "ray"), HEAVY])
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["explain", "--help"]])
def test_help_works_although_libraries_are_blocked(
    arguments: list[str], blocked: tuple[str, ...]
) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({list(blocked)!r}))\n"
        "from autotune.cli import main; sys.exit(main())"
    )
    assert "autotune" in _run(code, *arguments)


def _loaded(statement: str, watched: tuple[str, ...]) -> list[str]:
    """The watched libraries that a fresh interpreter has after the statement."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(_run(code)))
    return [name for name in watched if name in loaded]


def _run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
