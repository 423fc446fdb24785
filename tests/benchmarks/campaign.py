"""What autotune does on a real card at full size: stages of some minutes each, resumed.

    python tests/benchmarks/campaign.py --out FOLDER --place FAST [--stage NAME ...] [--deadline S]

Checkpoints with random weights are made under ``--place``, which should lie in memory or on a fast
disk: Flux takes 34 GB. Everything that is measured becomes a line of ``OUT/rows.jsonl``, written
when it is known; what has a line is not run again, and what the deadline does not reach is left
for the next call. ``campaign_table.py`` makes the tables of what was seen.

``--scale tiny --device cpu`` runs the same code on tiny models where there is no card.

From a plain checkout it needs ``PYTHONPATH`` to name it, and what pyproject.toml depends on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from campaign_plan import BUDGETS, ROWS, TINY

from autotune.engine.local import LocalEngine
from autotune.errors import AutotuneError
from autotune.estimate.ceilings import best_ceilings, measure_ceilings
from autotune.estimate.latency import predict
from autotune.estimate.memory import estimate_memory
from autotune.estimate.plan import plan_of
from autotune.estimate.profile import PROFILE, read_profile
from autotune.models.resolve import resolve
from autotune.models.skeleton.make import make_skeleton
from autotune.probe import probe_machine
from autotune.records import Device, Effort, InspectSpec, Machine, Model, Outcome, TrialSpec
from autotune.units import parse_bytes

ROOT = Path(__file__).resolve().parents[2]
#: The first call of a process, one that is watched, and one or two that count.
ROW = Effort(name="campaign", warmups=1, samples=2)
_SEARCH_S = 300
#: An overrun on purpose: less than any of the models takes.
_TOO_LITTLE, _OVERRUNS = 256 << 20, 20
#: With less time left nothing is begun.
_LEAST_S = 40.0


@dataclass(kw_only=True)
class Campaign:
    """Where results go, what there is, and until when."""

    out: Path
    place: Path
    tiny: bool
    device: Device
    machine: Machine
    end: float

    def __post_init__(self) -> None:
        self._file = self.out / "rows.jsonl"
        lines = self._file.read_text().splitlines() if self._file.exists() else ()
        self._done = {(row["stage"], row["name"]) for row in map(json.loads, lines)}

    @property
    def left_s(self) -> float:
        """Until the deadline."""
        return self.end - time.monotonic()

    def wants(self, stage: str, name: str, least_s: float = _LEAST_S) -> bool:
        """Whether a row is still to be made, and can be."""
        return (stage, name) not in self._done and self.left_s > least_s

    def keep(self, stage: str, name: str, **facts: object) -> None:
        """Write a row down and say it."""
        self._done.add((stage, name))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        card = {"device": self.device.name, "driver": self.device.driver}
        row = {"stage": stage, "name": name, "at": now, **card, **facts}
        with self._file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{stage}: {name}: {facts.get('said', '')}", flush=True)

    def model(self, name: str) -> Path:
        """The folder of a model with random weights, made once."""
        folder = self.place / name
        if not (folder / "model_index.json").exists():
            start = time.monotonic()
            made = make_skeleton(name, folder, tiny=self.tiny, quiet=True)
            seconds = time.monotonic() - start
            said = f"{made.bytes / 1e9:.2f} GB in {seconds:.1f} s"
            self.keep("checkpoint", name, seconds=seconds, bytes=made.bytes, said=said)
        return folder

    def resolved(self, name: str) -> Model:
        """The model, with the workload it is usually run with."""
        model = resolve(str(self.model(name)))
        return model.but(workload=model.workload.but(**TINY)) if self.tiny else model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--place", type=Path, required=True, help="where checkpoints go")
    parser.add_argument("--scale", choices=("tiny", "full"), default="full")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--stage", nargs="*", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--deadline", type=float, default=540, help="seconds of this call")
    asked = parser.parse_args()
    machine = probe_machine()
    devices = [one for one in machine.devices if one.kind == asked.device]
    if not devices:
        sys.exit(f"there is no {asked.device} device here; --device cpu --scale tiny tries it")
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.place.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(
        out=asked.out,
        place=asked.place,
        tiny=asked.scale == "tiny",
        device=devices[0],
        machine=machine,
        end=time.monotonic() + asked.deadline,
    )
    (asked.out / "machine.json").write_text(machine.model_dump_json(indent=1))
    for name in asked.stage:
        if campaign.left_s > _LEAST_S:
            STAGES[name](campaign)


def ceilings(campaign: Campaign) -> None:
    """What the card computes and copies in a second."""
    if campaign.wants("ceilings", "measured"):
        found = measure_ceilings(campaign.device)
        campaign.keep("ceilings", "measured", said=str(found), **found.model_dump(mode="json"))


def rows_of(model: str) -> Callable[[Campaign], None]:
    """The candidates of a model, one after another."""

    def stage(campaign: Campaign) -> None:
        wanted = [name for name in ROWS[model] if campaign.wants(model, name)]
        if wanted:
            with _bench(campaign, model) as bench:
                for name in wanted:
                    if campaign.wants(model, name):
                        bench.row(model, name, ROWS[model][name])

    return stage


@dataclass(kw_only=True)
class _Bench:
    """An engine with a model on it, and what is foreseen of that."""

    campaign: Campaign
    model: Model
    engine: LocalEngine
    folder: Path

    def __post_init__(self) -> None:
        spec = InspectSpec(model=self.model, device=self.campaign.device)
        choices = self.engine.inspect(spec, self.folder / "inspect").choices
        self._offered = {(one.lever, one.id): one.unavailable for one in choices}
        self._baseline = {one.lever: one.id for one in choices if one.baseline}
        self._profile = read_profile(self.folder / "inspect" / PROFILE)

    def row(self, stage: str, name: str, changes: Mapping[str, str]) -> None:
        """Run a candidate and keep its outcome beside what was foreseen."""
        unavailable = [
            f"{lever}={id}: {why or 'unknown'}"
            for lever, id in changes.items()
            if (why := self._offered.get((lever, id), "unknown")) is not None
        ]
        if unavailable:
            self.campaign.keep(stage, name, changes=dict(changes), said=unavailable[0])
            return
        start = time.monotonic()
        outcome = self.run(changes)
        self.campaign.keep(
            stage,
            name,
            changes=dict(changes),
            seconds=time.monotonic() - start,
            foreseen=self._foreseen({**self._baseline, **changes}),
            outcome=outcome.model_dump(mode="json"),
            said=said_of(outcome),
        )

    def run(
        self, changes: Mapping[str, str], effort: Effort = ROW, budget_bytes: int | None = None
    ) -> Outcome:
        """Run the baseline with changes to its outcome."""
        trials = self.folder / "trials"
        folder = trials / f"{len(list(trials.glob('*'))):03}"
        spec = TrialSpec(
            trial=folder.name,
            purpose="screen",
            model=self.model,
            choices={**self._baseline, **changes},
            workload=self.model.workload,
            device=self.campaign.device,
            effort=effort,
            budget_bytes=budget_bytes,
            deadline_s=max(_LEAST_S, self.campaign.left_s),
            prepared=str(self.folder / "prepared"),
        )
        self.engine.submit(spec, folder)
        while True:
            for event in self.engine.poll(0.5):
                if isinstance(event, Outcome):
                    return event

    def _foreseen(self, choices: Mapping[str, str]) -> dict[str, float]:
        device, plan = self.campaign.device, plan_of(self.model, self.campaign.device, choices)
        rates = best_ceilings(device, lambda _: None)
        return {
            "peak_bytes": estimate_memory(self._profile, plan).peak_bytes,
            "latency_s": predict(self._profile, plan, choices, rates).image_s,
        }


@contextmanager
def _bench(campaign: Campaign, name: str) -> Iterator[_Bench]:
    model = campaign.resolved(name)
    folder = campaign.place / "runs" / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    engine = LocalEngine(device=campaign.device, pipeline=model.pipeline, folder=folder, say=print)
    try:
        yield _Bench(campaign=campaign, model=model, engine=engine, folder=folder)
    finally:
        engine.close()


def said_of(outcome: Outcome) -> str:
    """An outcome in a line."""
    peak = f"{outcome.memory.peak_bytes / 1e9:.2f} GB" if outcome.memory else "no peak"
    if outcome.samples_s:
        return f"{min(outcome.samples_s):.3f} s, {peak}, {outcome.status} {outcome.message}"
    return f"{outcome.status}: {outcome.message} ({peak})"


def searches_of(model: str) -> Callable[[Campaign], None]:
    """``autotune suggest`` for each budget, then ``verify`` of what it wrote."""

    def stage(campaign: Campaign) -> None:
        for budget in BUDGETS[model]:
            if campaign.wants(f"suggest {model}", budget, least_s=60):
                _search(campaign, model, budget)
            recipe = campaign.out / f"{model}-{budget}.json"
            if recipe.exists() and campaign.wants(f"verify {model}", budget, least_s=60):
                _verify(campaign, model, budget, recipe)

    return stage


def _search(campaign: Campaign, model: str, budget: str) -> None:
    seconds = int(min(_SEARCH_S, campaign.left_s - 15))
    argv = ["suggest", "--model", str(campaign.model(model)), "--vram", budget, "--json"]
    argv += ["--time", f"{seconds}s", "--trials", "24", "--effort", "quick"]
    argv += ["--out", str(campaign.out / f"{model}-{budget}.json"), "--force"]
    argv += ["--record", str(campaign.out / f"{model}-{budget}.space.jsonl")]
    argv += ["--runs", str(campaign.place / "runs"), "--device", campaign.device.kind]
    for name, value in TINY.items() if campaign.tiny else ():
        argv += [f"--{name}", str(value)]
    _command(campaign, f"suggest {model}", budget, argv)


def _verify(campaign: Campaign, model: str, budget: str, recipe: Path) -> None:
    argv = ["verify", str(recipe), "--json", "--device", campaign.device.kind]
    _command(campaign, f"verify {model}", budget, argv)


def _command(campaign: Campaign, stage: str, name: str, argv: list[str]) -> None:
    """Run autotune and keep what it answers; what it says is a file beside the rows."""
    log = campaign.out / f"{stage} {name}.txt".replace(" ", "-")
    start = time.monotonic()
    with log.open("w") as said:
        done = subprocess.Popen(
            [sys.executable, "-m", "autotune", *argv],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        try:
            answer, _ = done.communicate(timeout=campaign.left_s)
        except subprocess.TimeoutExpired:
            done.terminate()
            answer, _ = done.communicate()
    seconds = time.monotonic() - start
    found = json.loads(answer) if answer.strip() else {}
    for path in ("recipe", "report", "study", "pictures"):
        found.pop(path, None)
    said_last = log.read_text().strip().splitlines()[-1:]
    campaign.keep(
        stage,
        name,
        seconds=seconds,
        exit=done.returncode,
        answer=found,
        said=f"exit {done.returncode} in {seconds:.0f} s: {found.get('choices')} "
        f"{found.get('latency_s')} s {found.get('peak_bytes')} bytes {said_last}",
    )


def overruns(campaign: Campaign) -> None:
    """Twenty real failures for want of memory in a row, and then a clean trial."""
    if not campaign.wants("overruns", "sd15", least_s=90):
        return
    before = _used_bytes(campaign)
    with _bench(campaign, "sd15") as bench:
        plain = {} if campaign.tiny else {"dtype": "fp16"}
        budget = parse_bytes("16MiB") if campaign.tiny else _TOO_LITTLE
        short = Effort(name="campaign", warmups=1, samples=1)
        ends = [bench.run(plain, short, budget) for _ in range(_OVERRUNS)]
        clean = bench.run(plain, short)
    after = _used_bytes(campaign)
    failed = sum(one.status.value in ("over_budget", "out_of_vram") for one in ends)
    campaign.keep(
        "overruns",
        "sd15",
        ends=[one.status.value for one in ends],
        clean=clean.model_dump(mode="json"),
        used_before_bytes=before,
        used_after_bytes=after,
        said=f"{failed} of {_OVERRUNS} refused, then {said_of(clean)}; device "
        f"{(after - before) / 1e6:+.0f} MB",
    )


def _used_bytes(campaign: Campaign) -> int:
    found = next(one for one in probe_machine().devices if one.uuid == campaign.device.uuid)
    return found.total_bytes - found.free_bytes


def levers(campaign: Campaign) -> None:
    """``tests/gpu`` on the embedded model: every choice the card offers, with its evidence."""
    if not campaign.wants("levers", "tests/gpu", least_s=60):
        return
    environment = {**os.environ, "AUTOTUNE_RESULTS": str(campaign.out)}
    if campaign.device.kind == "cpu":
        environment["AUTOTUNE_GPU_DRY_RUN"] = "1"
    argv = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-q", "-k", "demo"]
    argv += ["--override-ini", "addopts=-ra", "--tb=short"]
    start, log = time.monotonic(), campaign.out / "levers.txt"
    with log.open("w") as said:
        done = subprocess.Popen(argv, stdout=said, stderr=said, cwd=ROOT, env=environment)
        try:
            done.wait(campaign.left_s - 5)
        except subprocess.TimeoutExpired:
            done.send_signal(signal.SIGINT)  # after which what was seen is still written
            done.wait()
    last = log.read_text().strip().splitlines()[-1:]
    seconds = time.monotonic() - start
    campaign.keep("levers", "tests/gpu", seconds=seconds, exit=done.returncode, said=str(last))


STAGES: Mapping[str, Callable[[Campaign], None]] = {
    "ceilings": ceilings,
    "flux": rows_of("flux"),
    "suggest-flux": searches_of("flux"),
    "levers": levers,
    "overruns": overruns,
    "sd15": rows_of("sd15"),
    "suggest-sd15": searches_of("sd15"),
    "sdxl": rows_of("sdxl"),
    "suggest-sdxl": searches_of("sdxl"),
    "wan": rows_of("wan-1.3b"),
    "suggest-wan": searches_of("wan-1.3b"),
}


if __name__ == "__main__":
    try:
        main()
    except AutotuneError as error:
        sys.exit(f"error: {error}")
