"""The wheel: what is in it, and that it works where there is no checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

from tests.sources import ROOT, repository_files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy, so that nothing git ignores can get into it."""
    copy = tmp_path_factory.mktemp("source")
    for file in repository_files():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, copy / file)
    out = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=copy)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has the wheel and borrows the rest."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", folder)
    python = folder / "bin" / "python"
    install = ["install", "--no-deps", "--no-index", "--ignore-installed", "--no-compile"]
    _run(sys.executable, "-m", "pip", "--python", python, *install, wheel)
    # An environment made from an environment sees the system's packages, not its maker's. Their
    # folder comes last, and its own .pth files are not read: no checkout installed there is seen.
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    hidden = ("PYTHONPATH", "PYTHONHOME", "PIP_CONSTRAINT", "PIP_REQUIREMENT")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _metadata(wheel: Path, name: str) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        return archive.read(path)


def _headers(wheel: Path) -> Message:
    return message_from_string(_metadata(wheel, "METADATA").decode("utf-8"))


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    tracked = {file.as_posix() for file in repository_files() if file.parts[0] == "autotune"}
    assert tracked <= _names(wheel)
    assert "autotune/py.typed" in tracked
    assert "autotune/models/catalog.toml" in tracked


def test_the_wheel_holds_every_search_space(wheel: Path) -> None:
    spaces = {f"autotune/{file.as_posix()}" for file in repository_files("search_spaces")}
    assert "autotune/search_spaces/default.toml" in spaces
    assert spaces <= _names(wheel)


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in _names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"autotune"}
    assert [name for name in _names(wheel) if "test" in name or "__pycache__" in name] == []


def test_the_wheel_is_the_distribution_that_the_design_names(wheel: Path) -> None:
    import autotune

    headers = _headers(wheel)
    assert headers["Name"] == "diffusers-autotune"
    assert headers["Version"] == autotune.__version__
    assert headers["License-Expression"] == "Apache-2.0"
    assert headers["Requires-Python"] == ">=3.11"
    assert wheel.name == f"diffusers_autotune-{autotune.__version__}-py3-none-any.whl"


def test_the_wheel_declares_the_command(wheel: Path) -> None:
    assert b"[console_scripts]\nautotune = autotune.cli:main" in _metadata(
        wheel, "entry_points.txt"
    )


def test_the_wheel_carries_the_readme_and_the_licence(wheel: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert str(_headers(wheel).get_payload()).strip() == readme.strip()
    assert _metadata(wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_the_installed_package_is_the_one_that_is_imported(installed: Path) -> None:
    code = "import autotune; print(autotune.__file__)"
    home = Path(_run(installed / "python", "-c", code, cwd=installed).strip())
    assert home.is_relative_to(installed.parent)


def test_the_installed_command_tells_its_version(installed: Path) -> None:
    import autotune

    told = _run(installed / "autotune", "--version", cwd=installed)
    assert told == f"autotune {autotune.__version__}\n"


def test_the_installed_command_lists_the_levers(installed: Path) -> None:
    from autotune.levers import BUILT_IN

    command = [installed / "autotune", "levers", "--device", "cpu", "--json"]
    choices = json.loads(_run(*command, cwd=installed))
    assert len({choice["lever"] for choice in choices}) >= len(BUILT_IN)


def test_the_installed_package_finds_what_it_ships(installed: Path) -> None:
    code = (
        "from autotune.search.definition import load_definition, shipped_names\n"
        "from autotune.models.catalog import load_catalog\n"
        "print(*shipped_names(), sep='\\n'); assert load_definition('flux').levers\n"
        "assert load_catalog()"
    )
    names = set(_run(installed / "python", "-c", code, cwd=installed).split())
    assert names == {file.stem for file in repository_files("search_spaces")}
