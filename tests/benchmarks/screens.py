"""Whether a screen with a third of the steps puts candidates in the order of whole generations.

    python tests/benchmarks/screens.py [--steps 24]

Candidates of the demo that differ in every lever that changes its speed are run by the local
engine, in a fresh process each: once with all steps, once with a third of them and the rest
reckoned. Printed are both times, the rank correlation (Spearman) and what the screens saved.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path

from autotune.engine.local import LocalEngine
from autotune.models.resolve import resolve
from autotune.probe import probe_machine
from autotune.records import InspectSpec, Outcome, TrialSpec
from autotune.search.history import latency_of
from autotune.search.request import STANDARD
from autotune.status import Status

CHANGES = {
    "dtype": ("bf16", "fp32"),
    "vae-tiling": ("off", "half"),
    "attention": ("native", "native-math"),
    "quantize-denoiser": ("none", "torchao-int8dq"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    asked = parser.parse_args()
    device = probe_machine().devices[-1]
    model = resolve("demo")
    whole, short, cost = [], [], [0.0, 0.0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        engine = LocalEngine(device=device, pipeline=model.pipeline, folder=folder)
        try:
            found = engine.inspect(InspectSpec(model=model, device=device), folder / "inspect")
            baseline = {one.lever: one.id for one in found.choices if one.baseline}
            for number, ids in enumerate(itertools.product(*CHANGES.values())):
                candidate = {**baseline, **dict(zip(CHANGES, ids, strict=True))}
                for which, steps in enumerate((None, asked.steps // 3)):
                    spec = TrialSpec.model_validate(
                        {
                            "trial": f"{number:02}-{which}",
                            "purpose": "screen",
                            "model": model,
                            "choices": candidate,
                            "workload": model.workload.but(steps=asked.steps),
                            "device": device,
                            "effort": STANDARD.screen.but(steps=steps),
                            "budget_bytes": None,
                            "deadline_s": 300.0,
                        }
                    )
                    outcome = run(engine, spec, folder / spec.trial)
                    if outcome.status is not Status.MEASURED:
                        print(f"  {ids}: {outcome.message}")
                        break
                    (whole, short)[which].append(latency_of(outcome) or 0.0)
                    cost[which] += outcome.seconds
                else:
                    error = short[-1] / whole[-1] - 1
                    print(f"  {whole[-1]:.3f} s, reckoned {short[-1]:.3f} s ({error:+.1%})  {ids}")
        finally:
            engine.close()
    errors = [few / all_ - 1 for few, all_ in zip(short, whole, strict=True)]
    print(
        f"screens of {asked.steps // 3} of {asked.steps} steps: rank correlation "
        f"{spearman(whole, short):.3f} over {len(whole)} candidates, median error "
        f"{statistics.median(map(abs, errors)):.1%}, {cost[0] / cost[1]:.2f} × as fast"
    )


def run(engine: LocalEngine, spec: TrialSpec, folder: Path) -> Outcome:
    engine.submit(spec, folder)
    while True:
        for event in engine.poll(0.5):
            if isinstance(event, Outcome):
                return event


def spearman(ours: list[float], theirs: list[float]) -> float:
    def ranks(values: list[float]) -> list[int]:
        order = sorted(range(len(values)), key=values.__getitem__)
        return [order.index(number) for number in range(len(values))]

    return statistics.correlation(ranks(ours), ranks(theirs))


if __name__ == "__main__":
    main()
