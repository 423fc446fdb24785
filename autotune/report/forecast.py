"""``autotune estimate`` for people and as JSON: all of it predicted, nothing measured."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from autotune.estimate.laws import law_of
from autotune.report.words import change_phrase, console_for
from autotune.units import format_both, format_bytes, format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from autotune.records import Candidate
    from autotune.search.forecast import Forecast
    from autotune.search.shortlist import Foreseen

#: Where the rates of the device are from, for people.
_RATES = {
    "measured": "measured on this device",
    "table": "the card's data sheet, at the shares that published runs reach",
    "guess": "a guess: the device is in no table here and was not measured",
}


def print_forecast(forecast: Forecast, model: str, stream: TextIO) -> None:
    """Print what fits, what binds, and the ladder."""
    console = console_for(stream)
    for line in _head(forecast):
        console.print(line, soft_wrap=True)
    for line in _as_it_is(forecast):
        console.print(line, soft_wrap=True)
    budget = format_bytes(forecast.question.budget_bytes)
    if forecast.best:
        console.print(f"\nforeseen to fit {budget}, from the fastest to the leanest")
        console.print(_table(forecast, [("", one) for one in forecast.best]))
    else:
        console.print(f"\nnothing is foreseen to fit {budget}")
    console.print("the least memory, by how much pictures may change (--quality)")
    console.print(_table(forecast, [(str(one), two) for one, two in forecast.presets.items()]))
    quality = forecast.question.quality
    console.print(f"the fastest for each size of card, --quality {quality}")
    console.print(_table(forecast, _rungs(forecast)))
    for line in _end(forecast, model):
        console.print(line, soft_wrap=True)


def _head(forecast: Forecast) -> Iterator[str]:
    asked, funnel = forecast.question, forecast.funnel
    work = asked.model.workload
    size = f"{work.width}×{work.height}" + (f"×{work.frames} frames" if work.frames else "")
    about = "" if funnel.exact else "about "
    yield "predicted, not measured"
    yield f"model    {asked.model.id} ({asked.model.pipeline})"
    yield f"workload {size}, {work.steps} steps, batch {work.batch}"
    yield f"device   {asked.device.name} ({asked.device.kind})"
    yield f"budget   {format_both(asked.budget_bytes)}"
    yield f"rates    {_RATES[forecast.ceilings.source]}"
    yield (
        f"space    {funnel.all:,} combinations → {about}{funnel.legal:,} legal → "
        f"{about}{funnel.may_fit:,} may fit"
    )
    if forecast.profile.uncounted is not None:
        yield f"only weights are known: {forecast.profile.uncounted}"


def _as_it_is(forecast: Forecast) -> Iterator[str]:
    one = forecast.baseline
    yield ""
    if one is None:
        yield "as it is: it cannot run so on this device"
        return
    fits = one.memory.peak_bytes <= forecast.question.budget_bytes
    made = _made(forecast)
    yield (
        f"as it is: {format_bytes(one.memory.peak_bytes)}, "
        f"{format_duration(one.latency.image_s)} {'an' if made == 'image' else 'a'} {made}: "
        f"{'fits' if fits else 'does not fit'}"
    )
    worst = one.memory.binds
    parts = sorted(worst.bytes.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{name} {format_bytes(size)}" for name, size in parts)
    yield f"what binds: to {worst.name} takes {listed}"


def _table(forecast: Forecast, rows: Sequence[tuple[str, Foreseen | None]]) -> RenderableType:
    """A line a candidate; what no line has is no column."""
    from rich import box
    from rich.table import Table

    columns = [
        [""] + [name for name, _ in rows],
        ["peak"] + [_peak(one) for _, one in rows],
        [f"per {_made(forecast)}"] + [_time(one) for _, one in rows],
        ["first one"] + [_start(one) for _, one in rows],
        ["host RAM"] + [_host(one) for _, one in rows],
        ["candidate"] + [_changes(forecast, one) for _, one in rows],
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [column for column in columns if any(column[1:])]
    for title, *_ in shown[:-1]:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column(shown[-1][0], overflow="fold")
    for cells in list(zip(*shown, strict=True))[1:]:
        table.add_row(*cells)
    return table


def _made(forecast: Forecast) -> str:
    return "image" if forecast.question.model.workload.frames is None else "video"


def _peak(one: Foreseen | None) -> str:
    return format_bytes(one.memory.peak_bytes) if one else "–"


def _time(one: Foreseen | None) -> str:
    return format_duration(one.latency.image_s) if one else "–"


def _start(one: Foreseen | None) -> str:
    extra_s = one.latency.first_extra_s if one else 0.0
    return f"+{format_duration(extra_s)}" if extra_s else ""


def _host(one: Foreseen | None) -> str:
    return format_bytes(one.memory.host_bytes) if one and one.memory.host_bytes else ""


def _changes(forecast: Forecast, one: Foreseen | None) -> str:
    if one is None:
        return "nothing is foreseen to fit"
    return change_phrase(forecast.space.changes(one.candidate))


def _rungs(forecast: Forecast) -> list[tuple[str, Foreseen | None]]:
    """The ladder, with sizes that have the same candidate on one line."""
    rungs: list[tuple[str, Foreseen | None]] = []
    for candidate, group in itertools.groupby(forecast.ladder.items(), lambda item: item[1]):
        sizes = [size for size, _ in group]
        rungs.append(
            (" to ".join(dict.fromkeys([f"{sizes[0]}", f"{sizes[-1]}"])) + " GB", candidate)
        )
    return rungs


def _moved(forecast: Forecast, one: Foreseen) -> Candidate:
    """What differs from the baseline in a candidate whose weights need lie nowhere on the host."""
    return {} if one.memory.host_bytes else forecast.space.changes(one.candidate)


def _end(forecast: Forecast, model: str) -> Iterator[str]:
    budget = f"{-(-forecast.question.budget_bytes // 1_000_000)}MB"
    if not forecast.best:
        leanest = min(
            (one.memory.peak_bytes for one in forecast.presets.values() if one), default=None
        )
        if leanest is not None:
            yield f"hint: --vram {-(-leanest // 1_000_000)}MB may be enough"
            return
    if (
        any(one.memory.host_bytes for one in forecast.best)
        and forecast.question.host_bytes is None
    ):
        yield "host RAM is not bounded here: say with --ram how much the machine has"
    if any("offload" in _moved(forecast, one) for one in forecast.best):
        yield "where no host RAM is named, offloaded weights are read from their files each time"
    margin = law_of(forecast.question.device.kind).margin
    yield f"peaks have a margin of {margin:.0%}; times are good to about a quarter, offload less"
    yield f"measure: autotune suggest --model {model} --vram {budget}"


def to_json(forecast: Forecast) -> dict[str, Any]:
    """The whole forecast as plain data; sizes are bytes, times seconds."""
    asked = forecast.question
    return {
        "predicted": True,
        "model": asked.model.id,
        "workload": asked.model.workload.model_dump(mode="json"),
        "device": {"kind": asked.device.kind, "name": asked.device.name},
        "budget_bytes": asked.budget_bytes,
        "quality": str(asked.quality),
        "rates": forecast.ceilings.source,
        "uncounted": forecast.profile.uncounted,
        "combinations": forecast.funnel.all,
        "legal": forecast.funnel.legal,
        "may_fit": forecast.funnel.may_fit,
        "counted": forecast.funnel.exact,
        "tflop": {
            call.component: call.work.flops / 1e12
            for call in (*forecast.profile.encode, *forecast.profile.denoise)
        },
        "baseline": _candidate(forecast, forecast.baseline),
        "best": [_candidate(forecast, one) for one in forecast.best],
        "least": {str(name): _candidate(forecast, one) for name, one in forecast.presets.items()},
        "ladder": {
            f"{size}GB": _candidate(forecast, one) for size, one in forecast.ladder.items()
        },
    }


def _candidate(forecast: Forecast, one: Foreseen | None) -> dict[str, Any] | None:
    if one is None:
        return None
    memory, latency = one.memory, one.latency
    return {
        "choices": dict(one.candidate),
        "changes": dict(forecast.space.changes(one.candidate)),
        "peak_bytes": memory.peak_bytes,
        "expected_bytes": memory.expected_bytes,
        "allocated_bytes": memory.allocated_bytes,
        "least_bytes": memory.least_bytes,
        "host_bytes": memory.host_bytes,
        "binds": {"phase": memory.binds.name, "part": memory.binds.largest},
        "phases": [{"name": phase.name, "bytes": dict(phase.bytes)} for phase in memory.phases],
        "latency_s": latency.image_s,
        "encode_s": latency.encode_s,
        "denoise_s": latency.denoise_s,
        "decode_s": latency.decode_s,
        "transfer_s": latency.transfer_s,
        "first_extra_s": latency.first_extra_s,
    }
