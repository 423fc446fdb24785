"""autotune's search in a plain Optuna study: python examples/plain_optuna.py"""

import optuna

from autotune.search.pool import Expected
from autotune.search.sampler import ShortlistSampler, why

LEVERS = {"format": ("bf16", "int8", "int4"), "compile": ("off", "on")}
LEVERS["offload"] = ("none", "model", "layers")
SECONDS = {"bf16": 10.0, "int8": 8.0, "int4": 9.0, "off": 1.0, "on": 0.7}
GIGABYTES = {"bf16": 24, "int8": 13, "int4": 8}
SAVED, SLOWER = {"none": 0, "model": 5, "layers": 6}, {"none": 1.0, "model": 1.3, "layers": 2.0}


def foresee(one):
    """A rough idea of time and memory; None for what cannot work."""
    if one["format"] == "int4" and one["compile"] == "on":
        return None
    seconds = SECONDS[one["format"]] * SECONDS[one["compile"]] * SLOWER[one["offload"]]
    return Expected(seconds, GIGABYTES[one["format"]] - SAVED[one["offload"]])


def measure(trial):
    """Stands for a generation: here the idea was right, but for int8, which is slower."""
    one = {lever: trial.suggest_categorical(lever, ids) for lever, ids in LEVERS.items()}
    foreseen = foresee(one)
    trial.set_user_attr("peak_bytes", foreseen.peak_bytes)
    trial.set_constraint("budget", foreseen.peak_bytes / 12 - 1)
    return foreseen.latency_s * (1.5 if one["format"] == "int8" else 1.0)


sampler = ShortlistSampler(LEVERS, foresee=foresee, budget_bytes=12, starts=3)
study = optuna.create_study(sampler=sampler)
study.optimize(measure, n_trials=8)
for trial in study.trials:
    print(trial.number, f"{trial.value:.1f} s", trial.params, why(trial))
print("best:", study.best_params)
