"""``autotune book``: a folder of recipes that many machines share, and lookups in it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from autotune.errors import BadInput, ExitCode

if TYPE_CHECKING:
    from autotune.fleet.book import Book

SUMMARY = "keep recipes of many machines in a book, and look one up for this machine"
EXAMPLE = "autotune book find --model flux --vram 12GB"

_ADD = "autotune book add autotune-runs/demo/recipe.json --book ./recipes"
_LIST = "autotune book list --book ./recipes"
_PRUNE = "autotune book prune --dry-run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four commands on a book."""
    commands = parser.add_subparsers(metavar="WHAT", required=True)
    add = _command(commands, "add", "put recipes into the book, which is made if need be", _ADD)
    add.add_argument("recipes", nargs="+", type=Path, metavar="RECIPE", help="a recipe file")
    add.set_defaults(action=_add)
    listed = _command(commands, "list", "list the recipes of the book", _LIST)
    listed.add_argument("--model", help="only those of this model")
    listed.set_defaults(action=_list)
    find = _command(commands, "find", "look up the fastest recipes that fit this machine", EXAMPLE)
    _add_find(find)
    find.set_defaults(action=_find)
    prune = _command(commands, "prune", "remove recipes for which there is a better one", _PRUNE)
    prune.add_argument("--dry-run", action="store_true", help="only say what would go, and why")
    prune.set_defaults(action=_prune)


def _command(commands: Any, name: str, summary: str, example: str) -> Any:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--book",
        metavar="FOLDER",
        help="a folder, or a URL that fsspec knows (default: $AUTOTUNE_BOOK, else "
        "~/.local/share/autotune/book)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_find(find: argparse.ArgumentParser) -> None:
    find.add_argument("--model", required=True, help="as for suggest, or as recipes call it")
    find.add_argument(
        "--vram",
        metavar="SIZE",
        help="12GB, 12GiB, 80%% or free-1GiB (default: what is free)",
    )
    find.add_argument("--device", help="cuda, cuda:1, a UUID, or cpu (default: the freest GPU)")
    find.add_argument(
        "--quality",
        metavar="PRESET",
        default="balanced",
        help="exact, close, balanced or any: how much pictures may change (default: balanced)",
    )
    find.add_argument(
        "--objective",
        metavar="WHICH",
        default="steady",
        help="which time counts: steady, first, or total:N (default: steady)",
    )
    find.add_argument(
        "--limit", metavar="N", default="10", help="show so many at the most (default: 10)"
    )
    find.add_argument("--out", metavar="FILE", help="write the best one to this file")
    find.add_argument("--force", action="store_true", help="replace a file that exists")
    work = find.add_argument_group("workload (default: what the model is usually run with)")
    for name in ("height", "width", "steps", "batch", "frames"):
        work.add_argument(f"--{name}", metavar="N")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Do what is asked for; what is broken in the book is told on standard error."""
    from autotune.fleet.book import open_book
    from autotune.report.book import skipped_lines

    book = open_book(arguments.book)
    try:
        return ExitCode(arguments.action(arguments, book))
    finally:
        _print(skipped_lines(book.skipped), sys.stderr)


def _add(arguments: argparse.Namespace, book: Book) -> ExitCode:
    from autotune.recipe.read import read_recipe

    added = book.add([read_recipe(path) for path in arguments.recipes])
    if arguments.json:
        print(json.dumps({"added": [{"recipe": one.address, "new": one.new} for one in added]}))
    for path, one in zip(arguments.recipes, added, strict=True):
        if not arguments.json:
            verb = "added" if one.new else "was there already"
            _print([f"{path.name} {verb}: {one.address}"], sys.stdout)
    return ExitCode.DONE


def _list(arguments: argparse.Namespace, book: Book) -> ExitCode:
    from autotune.report.book import listed_json, listed_lines

    entries = list(book.entries())
    if arguments.model is not None:
        from autotune.lookup import names_of

        named = names_of(arguments.model)
        models = named.models | named.skeletons
        entries = [one for one in entries if one.recipe.model.id.casefold() in models]
    if arguments.json:
        print(json.dumps(listed_json(entries, book.skipped)))
    else:
        _print(listed_lines(entries), sys.stdout)
        _print([f"{len(entries)} recipes in {book.store.place}"], sys.stderr)
    return ExitCode.DONE


def _find(arguments: argparse.Namespace, book: Book) -> ExitCode:
    from autotune.fleet.find import find
    from autotune.lookup import make_wanted, nothing
    from autotune.report.book import found_json, found_lines
    from autotune.units import parse_count

    names = ("height", "width", "steps", "batch", "frames")
    given = {name: getattr(arguments, name) for name in names}
    limit = parse_count(arguments.limit, "--limit")
    out = _checked_out(arguments)
    wanted = make_wanted(
        arguments.model,
        vram=arguments.vram,
        device=arguments.device,
        workload={name: parse_count(text, name) for name, text in given.items() if text},
        quality=arguments.quality,
        objective=arguments.objective,
    )
    answer = find(book, wanted, most=limit)
    if arguments.json:
        print(json.dumps(found_json(answer, book.skipped)))
    else:
        _print(found_lines(answer), sys.stdout)
    if not answer.found:
        raise nothing(arguments.model, arguments.vram, book, wanted, answer)
    if out is not None:
        from autotune.recipe.write import write_recipe

        write_recipe(answer.found[0].recipe, out, overwrite=arguments.force)
    return ExitCode.DONE


def _checked_out(arguments: argparse.Namespace) -> Path | None:
    from autotune.files import check_writable

    if arguments.out is None:
        if arguments.force:
            raise BadInput("--force is for --out", hint="--out FILE --force")
        return None
    out = Path(arguments.out)
    check_writable(out, overwrite=arguments.force)
    return out


def _prune(arguments: argparse.Namespace, book: Book) -> ExitCode:
    from autotune.fleet.prune import prune
    from autotune.report.book import pruned_json, pruned_lines

    pruning = prune(book, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps(pruned_json(pruning, book.skipped, dry_run=arguments.dry_run)))
    else:
        _print(pruned_lines(pruning, dry_run=arguments.dry_run), sys.stdout)
    return ExitCode.DONE


def _print(lines: Iterable[str], stream: TextIO) -> None:
    """Without rich, which takes longer than the lookup."""
    for line in lines:
        # What a recipe says is data: nothing in it may steer the terminal.
        print("".join(one if one.isprintable() else "?" for one in line), file=stream)
