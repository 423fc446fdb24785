"""What a study or a forecast is asked for, checked once, before anything takes time (C13)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autotune.errors import BadInput, shorten
from autotune.objective import parse_objective
from autotune.records import Device, Fidelity, Host, Model
from autotune.units import (
    DURATION_FORMS,
    LONGEST_S,
    default_budget,
    format_bytes,
    parse_budget,
    parse_duration,
)

if TYPE_CHECKING:
    from autotune.search.definition import Definition
    from autotune.search.forecast import Question
    from autotune.search.request import Request

#: A budget this near to the whole device is not an emulation of a smaller one.
WHOLE_DEVICE = 0.95
#: What numpy, which the sampler draws from, takes as a seed.
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a study is asked for, as ``suggest`` takes it."""

    vram: str | None = None
    device: str | None = None
    trials: int | None = None
    time: str | float | None = None
    sampler: str = "shortlist"
    exhaustive: bool = False
    record: str | Path | None = None
    against: str | None = None
    objective: str = "steady"
    effort: str = "standard"
    restart: bool = False
    seed: int = 0
    fix: Mapping[str, str] = field(default_factory=dict)
    space: str | None = None
    quality: str = "balanced"
    weights: str = "real"
    ram: str | None = None
    workload: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Mapping[str, str | Path] = field(default_factory=dict)
    out: str | Path | None = None
    runs: str | Path = "autotune-runs"
    force: bool = False
    book: str | Path | Literal[False] | None = None
    add_to_book: bool = False


def make_request(model: str, asked: Asked) -> Request:
    """Check everything a study of one budget is asked for; see `make_requests`."""
    return make_requests(model, asked, (asked.vram,))[0]


def make_requests(model: str, asked: Asked, vrams: Sequence[str | None]) -> list[Request]:
    """Check everything a study is asked for, before the first trial (C13).

    Args:
        model: As it was given.
        asked: What else is asked.
        vrams: The budgets, in place of the one in ``asked``.

    Returns:
        One for each budget, the largest first.

    Raises:
        BadInput: Naming the value that cannot be used.
    """
    from autotune.bookkeeping import check_book, with_starts
    from autotune.models.given import give, look_at
    from autotune.models.resolve import resolve
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device
    from autotune.probe.fingerprint import fingerprint
    from autotune.search.request import DEFAULT_TRIALS, Request

    # Cheap checks first: nothing is probed or downloaded for a typing error.
    wanted = [None if vram is None else parse_budget(vram) for vram in vrams]
    wanted_ram = parse_budget(asked.ram) if asked.ram is not None else None
    random = _random(asked.weights)
    measuring = _measuring(asked)
    time_s = parse_duration(asked.time) if isinstance(asked.time, str) else asked.time
    trials = DEFAULT_TRIALS if asked.trials is None else asked.trials
    _check_numbers(trials, time_s, asked.seed)
    _check_search(asked)
    runs, outs, record = _places(asked, vrams)
    looked = look_at(asked.checkpoints)
    check_book(asked.book, add=asked.add_to_book)
    machine = probe_machine()
    chosen = select_device(machine, asked.device)
    budgets = [wanted_bytes(one, chosen) for one in wanted]
    _check_budgets(vrams, budgets)
    ram_bytes = _ram(wanted_ram, chosen, machine.host)
    pins = dict(asked.fix)
    _check_names(pins, asked.space, None, chosen)  # before a download, which may take an hour
    resolved = resolve(_skeleton(model) if random else model)
    resolved = give(resolved.but(workload=_workload(resolved, asked.workload)), looked)
    definition = _check_names(pins, asked.space, resolved.family, chosen)
    requests = [
        Request(
            model=resolved,
            machine=machine,
            device=chosen,
            fingerprint=fingerprint(machine, chosen),
            vram=vram,
            budget_asked=vram or in_words(budget),
            budget_bytes=budget,
            emulated=vram is not None and budget < chosen.total_bytes * WHOLE_DEVICE,
            definition=definition,
            ram_bytes=ram_bytes,
            pins=pins,
            trials=trials,
            time_s=time_s,
            seed=asked.seed,
            folder=runs,
            recipe_path=runs,
            overwrite=asked.force,
            sampler=asked.sampler,
            exhaustive=asked.exhaustive,
            **measuring,
            record=record,
            against=asked.against,
        )
        for vram, budget in zip(vrams, budgets, strict=True)
    ]
    requests = with_starts(requests, model, asked.book)
    return sorted(_placed(requests, asked, outs), key=lambda one: -one.budget_bytes)


def make_question(model: str, asked: Asked, card: str | None) -> Question:
    """Check everything a forecast is asked for.

    Args:
        model: As for a study, but no weights are downloaded.
        asked: What else is asked; trials and paths do not matter.
        card: A card of the table, in place of a device that is here.

    Raises:
        BadInput: Naming the value that cannot be used.
    """
    from autotune.estimate.cards import device_of, find_card
    from autotune.models.planned import plan_model
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device
    from autotune.search.forecast import Question

    wanted = parse_budget(asked.vram) if asked.vram is not None else None
    wanted_ram = parse_budget(asked.ram) if asked.ram is not None else None
    fidelity = fidelity_of(asked.quality)
    machine = probe_machine()
    here = select_device(machine, asked.device) if card is None else None
    device = here or device_of(find_card(card or ""))
    pins = dict(asked.fix)
    _check_names(pins, asked.space, None, device)
    planned = plan_model(model)
    planned = planned.but(workload=_workload(planned, asked.workload))
    definition = _check_names(pins, asked.space, planned.family, device)
    ram_bytes = _ram(wanted_ram, device, machine.host) if here else _ram_elsewhere(wanted_ram)
    return Question(
        model=planned,
        device=device,
        budget_bytes=wanted_bytes(wanted, device),
        # What another machine has beside its card is not known here.
        host_bytes=ram_bytes or (machine.host.most_bytes if here else None),
        definition=definition,
        quality=fidelity,
        pins=pins,
        software=machine.software,
    )


def in_words(budget: int) -> str:
    """A budget that nobody asked for."""
    return f"{format_bytes(budget)}, what is free"


def _check_names(
    pins: Mapping[str, str], space: str | None, family: str | None, device: Device
) -> Definition:
    """Refuse unknown levers and choices now; what the model says to them is known later."""
    from autotune.levers import offered_choices
    from autotune.search.definition import load_definition
    from autotune.search.space import build_space

    definition = load_definition(family, space)
    choices = [one for found in offered_choices(device, None).values() for one in found]
    build_space(choices, definition, pins)
    return definition


def _check_numbers(trials: int, time_s: float | None, seed: int) -> None:
    if trials < 1:
        raise BadInput(f"{trials} trials are none", hint="--trials 12")
    if time_s is not None and not 0 < time_s <= LONGEST_S:
        raise BadInput(f"a time of {time_s} seconds cannot be used", hint=DURATION_FORMS)
    if not 0 <= seed <= LARGEST_SEED:
        raise BadInput(f"the seed cannot be {seed}", hint=f"0 to {LARGEST_SEED}")


def _check_budgets(vrams: Sequence[str | None], budgets: Sequence[int]) -> None:
    for number, budget in enumerate(budgets):
        if budget in budgets[:number]:
            raise BadInput(f"{vrams[number]} is there twice", hint="--vram 8GB,12GB,24GB")


def _places(
    asked: Asked, vrams: Sequence[str | None]
) -> tuple[Path, list[Path | None], Path | None]:
    """Where run folders, the recipe of each budget and the recorded space go."""
    from autotune.search.study_folder import runs_folder

    outs = [_out(asked, vram, len(vrams)) for vram in vrams]
    return runs_folder(asked.runs), outs, _record(asked, outs)


def _record(asked: Asked, outs: Sequence[Path | None]) -> Path | None:
    """Where the recorded space goes: not over a recipe; all of them can be written."""
    from autotune.files import check_writable

    record = None if asked.record is None else Path(asked.record)
    for path in (*outs, record):
        if path is not None:
            check_writable(path, overwrite=asked.force)
    if record is not None and record.resolve() in {out.resolve() for out in outs if out}:
        raise BadInput("--record and --out name the same file", hint="give two")
    return record


def _out(asked: Asked, vram: str | None, count: int) -> Path | None:
    """Where the recipe of a budget goes: of several, the budget stands in its name."""
    if asked.out is None or count == 1:
        return None if asked.out is None else Path(asked.out)
    path = Path(asked.out)
    return path.with_name(f"{path.stem}-{_as_name(vram)}{path.suffix}")


def _recipe_name(vram: str | None, count: int) -> str:
    return "recipe.json" if count == 1 else f"recipe-{_as_name(vram)}.json"


def _as_name(vram: str | None) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "", (vram or "free").replace("%", "pct"))


def _measuring(asked: Asked) -> dict[str, Any]:
    """What of each candidate is measured, and how much."""
    from autotune.search.request import efforts_for

    objective = parse_objective(asked.objective)
    return {
        "quality": fidelity_of(asked.quality),
        "objective": objective,
        "efforts": efforts_for(asked.effort, objective),
    }


def _check_search(asked: Asked) -> None:
    from autotune.search.request import NAMES

    if asked.exhaustive and asked.trials is not None:
        raise BadInput("--exhaustive tries everything, --trials does not", hint="leave one out")
    if asked.against not in (None, "docs"):
        raise BadInput(f"there is nothing called {shorten(asked.against)}", hint="--against docs")
    if asked.exhaustive and asked.sampler != "shortlist":
        raise BadInput(
            "--exhaustive tries everything in its own order, and asks no --sampler",
            hint="leave one out; --sampler grid tries everything in an order by lot",
        )
    if asked.sampler not in NAMES or asked.sampler == "gp":
        from autotune.search.samplers import check_sampler  # with Optuna

        check_sampler(asked.sampler)


def wanted_bytes(wanted: Any, device: Device) -> int:
    """The budget: what was asked for, or what is free less a margin."""
    if wanted is None:
        return default_budget(device.free_bytes)
    return int(wanted.resolve(device.total_bytes, device.free_bytes))


def _ram(wanted: Any, device: Device, host: Host) -> int | None:
    if wanted is None:
        return None
    if device.kind in ("cpu", "mps"):
        raise BadInput(
            f"--ram is for a card; on {device.kind} the device is the host itself",
            hint="say with --vram how much memory a setup may take",
        )
    total = host.ram_limit_bytes or host.ram_total_bytes
    return int(wanted.resolve(total, host.ram_available_bytes))


def _ram_elsewhere(wanted: Any) -> int | None:
    """Of a machine of which nothing is known but its card."""
    if wanted is not None and wanted.kind != "size":
        raise BadInput(
            f"{shorten(wanted.text)} of a machine that is not here says nothing",
            hint="say how much host memory there is: --ram 32GB",
        )
    return None if wanted is None else int(wanted.amount)


def look_again(request: Request) -> Request:
    """Take the budget from what is free now, after another study let go of the device."""
    from autotune.probe import probe_machine
    from autotune.probe.device import select_device

    device = select_device(probe_machine(), request.device.uuid)
    vram = request.vram
    budget = wanted_bytes(parse_budget(vram) if vram is not None else None, device)
    asked = vram or in_words(budget)
    return replace(request, device=device, budget_asked=asked, budget_bytes=budget)


def _random(weights: str) -> bool:
    if weights not in ("real", "random"):
        raise BadInput(f"weights cannot be {shorten(weights)}", hint="real or random")
    return weights == "random"


def _skeleton(model: str) -> str:
    from autotune.models.skeleton.make import cached_skeleton

    return model if model == "demo" else str(cached_skeleton(model))


def fidelity_of(quality: str) -> Fidelity:
    """The preset of that name.

    Raises:
        BadInput: If there is none.
    """
    try:
        return Fidelity(quality)
    except ValueError:
        listed = ", ".join(f"{one} ({one.sentence})" for one in Fidelity)
        raise BadInput(f"there is no quality {shorten(quality)}", hint=listed) from None


def _workload(model: Model, changes: Mapping[str, Any]) -> Any:
    from autotune.models.bounds import check_workload

    given = {name: value for name, value in changes.items() if value is not None}
    return check_workload(model, given)


def _placed(
    requests: Sequence[Request], asked: Asked, outs: Sequence[Path | None]
) -> list[Request]:
    """The requests with a folder, new or of an interrupted study, or with a study's answer."""
    from autotune.search.answered import find_answers
    from autotune.search.disk import check_room
    from autotune.search.study_folder import open_folder, study_of

    first = requests[0]
    size = format_bytes(max(one.budget_bytes for one in requests)).replace(" ", "")
    name = f"{first.model.id.rsplit('/', 1)[-1]}-{size}-{first.device.kind}"
    book = asked.book if asked.book is None or asked.book is False else str(asked.book)
    study = study_of(requests, asked.ram, book)
    if not asked.restart and asked.record is None:
        answered = find_answers(Path(asked.runs), study, requests)
        if answered:
            return [
                replace(one, recipe_path=out or one.recipe_path)
                for one, out in zip(answered, outs, strict=True)
            ]
    check_room(Path(asked.runs))
    opened = open_folder(Path(asked.runs), name, study, restart=asked.restart)
    return [
        replace(
            request,
            budget_bytes=opened.budget(request.vram),
            budget_asked=request.vram or in_words(opened.budget(None)),
            folder=opened.path,
            opened=opened,
            # An interrupted study goes on with what it began with: the book may be another now.
            starts=opened.starts(request.vram),
            said=() if opened.resumed else request.said,
            recipe_path=out or opened.path / _recipe_name(request.vram, len(requests)),
            # What an interrupted study wrote in its own folder was provisional.
            overwrite=asked.force or (opened.resumed and out is None),
        )
        for request, out in zip(requests, outs, strict=True)
    ]
