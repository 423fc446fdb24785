"""Tune several models, each for several budgets with one study, and print a table.

python examples/fleet_loop.py runs demo path/to/a/diffusers/folder
"""

import sys

import autotune

BUDGETS = ("1GB", "110MB")
#: On a processor it takes a minute a trial: left out of a quick look at many models.
NO_COMPILE = {"compile": "none", "compile-vae": "off"}


def main(runs: str, *models: str, trials: int = 4) -> None:
    for model in models:
        try:
            results = autotune.suggest_each(
                model, BUDGETS, trials=trials, fix=NO_COMPILE, effort="quick", runs=runs
            )
        except autotune.AutotuneError as error:
            print(f"{model:20} failed: {error}")
            continue
        for budget, result in zip(BUDGETS, results, strict=True):  # the largest comes first
            if result.recipe is None:
                needed = result.needed.budget_bytes / 1e6 if result.needed else float("nan")
                print(f"{model:20} {budget:>6}  nothing fits, {needed:.0f} MB would do")
                continue
            latency = result.recipe.evidence.winner.latency_s
            print(f"{model:20} {budget:>6}  {latency:.3f} s  {result.recipe_path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
