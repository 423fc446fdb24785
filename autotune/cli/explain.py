"""``autotune explain``: what a recipe says, in words. Works without torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from autotune.errors import ExitCode

SUMMARY = "say in words what a recipe does, what it rests on, and what was refused"
EXAMPLE = "autotune explain autotune-runs/demo/recipe.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("recipe", type=Path, help="a recipe file")
    parser.add_argument(
        "--accept-modified", action="store_true", help="read it although it was changed by hand"
    )
    parser.add_argument("--json", action="store_true", help="print the recipe's content as JSON")


def run(arguments: argparse.Namespace) -> ExitCode:
    """Read strictly and print."""
    from autotune.recipe.read import read_recipe

    recipe = read_recipe(arguments.recipe, accept_modified=arguments.accept_modified)
    if arguments.json:
        print(recipe.model_dump_json())
    else:
        from autotune.report.recipe import print_recipe

        print_recipe(recipe, arguments.recipe.name, sys.stdout)
    return ExitCode.DONE
