"""The repository as text: its files, its modules, and what each module imports."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autotune"


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module; ``at_import`` says that importing the importer imports it too."""

    importer: str
    module: str
    line: int
    at_import: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.module}"


@cache
def repository_files(folder: str = ".") -> tuple[Path, ...]:
    """What git tracks and what it would track in a folder, relative to the root."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    files = (Path(name) for name in listing.split("\0") if name)
    return tuple(sorted(file for file in files if (ROOT / file).is_file()))


@cache
def modules() -> dict[str, Path]:
    """Every module of the package with its file."""
    return {_dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def imports_of(module: str) -> tuple[Import, ...]:
    """What a module imports anywhere, blocks for type checkers left out."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = _imports(tree_of(path), module, package, at_import=True)
    return tuple(dict.fromkeys(found))


def chains_at_import(module: str) -> dict[str, tuple[Import, ...]]:
    """All that importing a module imports, its packages too, and by which imports."""
    chains: dict[str, tuple[Import, ...]] = {}
    waiting: list[tuple[str, tuple[Import, ...]]] = [(module, ())]
    while waiting:
        name, chain = waiting.pop(0)
        for above in _lineage(name):
            if above in chains:
                continue
            chains[above] = chain
            if above in modules():
                waiting.extend(
                    (one.module, (*chain, one)) for one in imports_of(above) if one.at_import
                )
    return chains


def is_within(module: str, package: str) -> bool:
    """Whether a dotted name is the package or lies inside it."""
    return module == package or module.startswith(package + ".")


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _lineage(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _imports(node: ast.AST, module: str, package: str, *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        for name in _named(child, package):
            yield Import(importer=module, module=name, line=child.lineno, at_import=at_import)
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        yield from _imports(child, module, package, at_import=at_import and not inside)


def _named(node: ast.AST, package: str) -> Iterator[str]:
    """The modules that one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
        yield base
        # ``from package import module`` imports the module.
        inner = (f"{base}.{alias.name}" for alias in node.names)
        yield from (name for name in inner if name in modules())
    elif isinstance(node, ast.Call) and node.args:
        called = ast.unparse(node.func)
        first = node.args[0]
        if called.endswith(("import_module", "__import__")) and isinstance(first, ast.Constant):
            yield str(first.value)
