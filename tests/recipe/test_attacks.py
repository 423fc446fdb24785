"""Attacks on what reading and writing a recipe promise (R1 to R3, R7 to R10)."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import BadRecipe
from autotune.recipe.read import CAP_BYTES, parse_recipe
from autotune.recipe.schema import FORMAT, Recipe
from autotune.recipe.write import render_recipe
from tests.recipe.factory import make_document, make_recipe, sign

WATCHED = """
import sys
from pathlib import Path
for name in ("torch", "diffusers", "transformers", "optuna", "ray", "numpy", "pynvml"):
    sys.modules[name] = None  # importing one of them is an ImportError
from autotune.errors import BadRecipe
from autotune.recipe.read import read_recipe

paths = [Path(argument) for argument in sys.argv[1:]]
seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, repr(arguments[:1]))))
answers = []
for path in paths:
    try:
        answers.append(type(read_recipe(path)).__name__)
    except BadRecipe as error:
        answers.append(type(error).__name__)
events = list(seen)
for answer in answers:
    print("answer", answer)
for event, arguments in events:
    print(event, arguments)
"""


def watch_reading(*paths: Path) -> tuple[list[str], list[str]]:
    """Read recipes in a fresh process; the answers, and every audit event meanwhile."""
    ended = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, *paths], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    answers = [line.removeprefix("answer ") for line in lines if line.startswith("answer ")]
    return answers, [line for line in lines if not line.startswith("answer ")]


def hostile_documents() -> list[dict[str, Any]]:
    """Recipes that name modules, files and addresses wherever a text may stand."""
    names = ["evil_module", "os.system", "/etc/passwd", "https://127.0.0.1:9/x", "$(touch x)"]
    documents = []
    for name in names:
        document: Any = make_document()
        document["refused"][0]["reason"] = name
        document["fingerprint"]["software"][name] = name
        document["evidence"]["quality"]["why"] = name
        documents.append(document)
        for path in (("choices", "dtype"), ("model", "id"), ("model", "pipeline")):
            document = make_document()
            document[path[0]][path[1]] = name
            documents.append(document)
    return documents


def test_r1_r2_reading_imports_runs_and_opens_nothing_but_the_file(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(render_recipe(make_recipe()))
    paths = [tmp_path / "good.json"]
    for number, document in enumerate(hostile_documents()):
        paths.append(tmp_path / f"hostile-{number}.json")
        paths[-1].write_bytes(sign(document))
    answers, events = watch_reading(*paths)
    assert answers[0] == "Recipe"
    assert "BadRecipe" in answers
    # A descriptor that is open already is "opened" as a Python file; that is not another file.
    opened = [event for event in events if event.startswith("open ('")]
    assert len(opened) == len(paths)
    for path, event in zip(paths, opened, strict=True):
        assert str(path) in event
    names = {event.split()[0] for event in events} - {"open"}
    # No import, exec, compile, socket, subprocess, os.system, ctypes or pickle among them.
    assert names <= {"object.__getattr__", "sys._getframe"}, names


def test_r1_a_pickle_is_recognised_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    bomb = f"cos\nsystem\n(S'touch {victim}'\ntR.".encode()
    with pytest.raises(BadRecipe, match="a pickle"):
        parse_recipe(bomb)
    assert not victim.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * CAP_BYTES,
        b'{"a":' * (CAP_BYTES // 5),
        b'"' * CAP_BYTES,
        b'{"' + b"\\" * (CAP_BYTES - 2),
        b"9" * CAP_BYTES,
        b"[1.5," * (CAP_BYTES // 5),
        b"{" + b'"k":0,' * (CAP_BYTES // 6 - 1) + b'"k":0}',
        b"/" * CAP_BYTES,
        b"~" * CAP_BYTES,
        b"a " * (CAP_BYTES // 2),
        b" " * CAP_BYTES,
        random.Random(0).randbytes(CAP_BYTES),
        b"{}" * CAP_BYTES,
    ],
)
def test_r3_reading_is_bounded_whatever_the_bytes(data: bytes) -> None:
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(BadRecipe):
        parse_recipe(data)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Tens of times the cap, and far under what a quadratic step would take.
    assert peak < 64 * CAP_BYTES
    assert seconds < 5


def test_r3_the_most_samples_that_fit_are_judged_in_bounded_time() -> None:
    document: Any = make_document()
    generator = random.Random(0)
    for side in ("winner", "baseline"):
        processes = [[round(generator.uniform(1, 2), 3) for _ in range(500)] for _ in range(32)]
        document["evidence"][side]["processes_s"] = processes
    start = time.process_time()
    with pytest.raises(BadRecipe):
        parse_recipe(json.dumps(document).encode(), accept_modified=True)
    assert time.process_time() - start < 5


@settings(max_examples=300)
@given(
    st.binary(max_size=300)
    | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace"))
)
def test_r3_any_bytes_are_refused_as_a_bad_recipe(data: bytes) -> None:
    with pytest.raises(BadRecipe):
        parse_recipe(data)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def places_in(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *(place for key, part in parts for place in places_in(part, (*path, key)))]


PLACES = places_in(make_document())[1:]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), JSON_VALUES)
def test_r3_any_value_in_any_place_is_read_or_refused(
    place: tuple[str | int, ...], value: Any
) -> None:
    document: Any = make_document()
    inner = document
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    for data, options in (
        (json.dumps(document).encode("utf-8", "replace"), {"accept_modified": True}),
        (json.dumps(document).encode("utf-8", "replace"), {}),
    ):
        try:
            recipe = parse_recipe(data, **options)
        except BadRecipe:
            continue
        assert render_recipe(recipe)


def test_r7_every_number_is_recomputed_from_the_samples() -> None:
    document: Any = make_document()
    sound = parse_recipe(sign(document))
    assert sound.evidence.comparison.ratio is not None
    for side, field in (
        *(("winner", "latency_s"), ("baseline", "latency_s")),
        *(("comparison", field) for field in ("ratio", "ratio_low", "ratio_high")),
    ):
        damaged = json.loads(json.dumps(document))
        damaged["evidence"][side][field] *= 1.001
        with pytest.raises(BadRecipe, match="cannot be true"):
            parse_recipe(sign(damaged))


@pytest.mark.fault("C3")
@pytest.mark.parametrize("call", ["fsync", "link"])
def test_r8_a_kill_before_the_rename_leaves_no_recipe(tmp_path: Path, call: str) -> None:
    path = tmp_path / "recipe.json"
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from autotune.recipe.write import write_recipe\n"
        "from tests.recipe.factory import make_recipe\n"
        f"os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_recipe(make_recipe(), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-B", "-c", script, path],
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert ended.returncode == -signal.SIGKILL
    assert not path.exists()


def test_r9_the_same_recipe_gives_the_same_bytes_in_every_process() -> None:
    script = (
        "import sys\nfrom autotune.recipe.write import render_recipe\n"
        "from tests.recipe.factory import make_recipe\n"
        "sys.stdout.buffer.write(render_recipe(make_recipe()))"
    )
    root = Path(__file__).parents[2]
    written = {
        subprocess.run(
            [sys.executable, "-B", "-c", script],
            capture_output=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1")
    }
    backwards = dict(reversed(list(make_recipe().choices.items())))
    assert written == {render_recipe(make_recipe(choices=backwards))}


VALID = render_recipe(make_recipe())
SOUND = parse_recipe(VALID)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_a_changed_byte_never_gives_another_recipe(position: int, flip: int) -> None:
    data = bytearray(VALID)
    data[position] ^= flip
    assert read_or_none(bytes(data)) in (None, SOUND)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, len(VALID)))
def test_a_cut_never_gives_another_recipe(start: int, stop: int) -> None:
    assert read_or_none(VALID[:start] + VALID[stop:]) in (None, SOUND)


def read_or_none(data: bytes) -> Recipe | None:
    try:
        return parse_recipe(data)
    except BadRecipe:
        return None


STORED = Path(__file__).parents[1] / "data" / "recipes"


@pytest.mark.parametrize("written", range(1, FORMAT + 1))
def test_r10_every_format_that_was_ever_released_is_read(written: int) -> None:
    data = (STORED / f"format-{written}.json").read_bytes()
    assert json.loads(data)["format"] == written
    recipe = parse_recipe(data)
    assert not recipe.modified
    assert recipe.choices == {"attention": "native", "dtype": "bf16", "vae_tiling": "on"}
    assert recipe.evidence.winner.latency_s == 0.505
    assert recipe.evidence.comparison.verdict == "faster"
    assert parse_recipe(render_recipe(recipe)) == recipe


def test_every_promise_of_the_readme_has_an_attack() -> None:
    root = Path(__file__).parents[2]
    promised = re.findall(r"\*\*(R[0-9]+)\*\*", (root / "README.md").read_text(encoding="utf-8"))
    attacked = {
        f"R{number}"
        for path in Path(__file__).parent.glob("test_attacks*.py")
        for names in re.findall(r"^def test((?:_r[0-9]+)+)_", path.read_text("utf-8"), re.M)
        for number in re.findall(r"[0-9]+", names)
    }
    assert promised == [f"R{number}" for number in range(1, 11)]
    assert attacked == set(promised)
