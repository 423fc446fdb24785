"""Writes what the levers told as a script, with the evidence as comments."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from autotune.levers.script import Call, Expression, Name, Script, Statement, call
from autotune.recipe.calls import arguments_of
from autotune.recipe.layout import comment_lines, laid_out, statement_lines, text_lines, written
from autotune.recipe.schema import Recipe
from autotune.recipe.told import Group, Told
from autotune.report.evidence import evidence_lines
from autotune.trial.generate import call_arguments, pictures_of, seeds_of
from autotune.trial.prepared import PACKED_ON_DEVICE

#: Frames of a video follow each other in so many milliseconds: 16 a second.
_FRAME_MS = 62


def written_script(recipe: Recipe, told: Told, place: Expression) -> str:
    """The whole script; ``place`` is what it loads from."""
    script = told.script
    paragraphs = [
        list(_comments(evidence_lines(recipe))),
        *_imports(told, needs_os=isinstance(place, Name)),
    ]
    text = "\n\n".join("\n".join(lines) for lines in paragraphs if lines)
    for definition in script.definitions:
        text += f"\n\n\n{definition}"
    text += "\n\n\n" if script.definitions else "\n\n"
    body = [
        list(_constants(script, place)),
        [*_notes(told.load), *_loading(script)],
        *([*_notes([one]), *_lines(one.statements)] for one in told.after),
        [*_notes(told.calls), *_calling(script)],
    ]
    return text + "\n\n".join("\n".join(lines) for lines in body) + "\n"


def written_environment(recipe: Recipe, told: Told) -> str:
    """The variables that have to be set before torch is imported, for a shell."""
    head = _comments([f"{recipe.model.id}, as {recipe.writer} found it"])
    lines = [*head, *_notes(told.before)]
    variables = told.script.environment.items()
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables]
    if not variables:
        lines += _comments(["its choices need no environment variable"])
    return "\n".join(lines) + "\n"


def _comments(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield from comment_lines(line, hanging="  ")


def _notes(groups: Iterable[Group]) -> Iterator[str]:
    return _comments(one.note for one in groups if one.note)


def _lines(statements: Iterable[Statement]) -> Iterator[str]:
    for statement in statements:
        yield from statement_lines(statement)


def _imports(told: Told, *, needs_os: bool) -> Iterator[list[str]]:
    script = told.script
    wanted = {"diffusers", "torch"} | script.modules
    wanted |= {"os"} if script.environment or needs_os else set()
    if any(name.startswith("transformers.") for name in _functions(_load(script))):
        wanted.add("transformers")
    own = sys.stdlib_module_names
    yield [f"import {name}" for name in sorted(wanted) if name.partition(".")[0] in own]
    yield [
        *_notes(told.before),
        *(
            f"os.environ[{written(name)}] = {written(value)}"
            for name, value in script.environment.items()
        ),
    ]
    yield [f"import {name}" for name in sorted(wanted) if name.partition(".")[0] not in own]


def _constants(script: Script, place: Expression) -> Iterator[str]:
    yield from laid_out("MODEL = ", place)
    if script.pinned:
        yield from laid_out("REVISION = ", script.model.revision)
    yield from text_lines("PROMPT = ", script.workload.prompts[0])


# ----------------------------------------------------------------------------------- loading


def _loading(script: Script) -> list[str]:
    return laid_out("pipe = ", _load(script))


def _load(script: Script) -> Call:
    """The pipeline's ``from_pretrained``, as `trial.quantized` and `trial.generate` call it."""
    arguments: dict[str, Expression] = {**script.pinned, **script.load}
    if script.quantization:
        arguments.setdefault("dtype", script.dtype)
    mapping = {}
    for name, configuration in script.quantization.items():
        if name in script.load:
            continue
        if script.device != "cpu" and _is_packed_there(configuration):
            arguments[name] = _part(script, name, configuration)
        else:
            mapping[name] = configuration
    if mapping:
        arguments["quantization_config"] = call(
            "diffusers.PipelineQuantizationConfig", quant_mapping=mapping
        )
    kind = f"diffusers.{script.model.pipeline}"
    return call(f"{kind}.from_pretrained", Name("MODEL"), **arguments, use_safetensors=True)


def _part(script: Script, name: str, configuration: Call) -> Call:
    """One component by itself, on the device from the beginning."""
    part = script.model.component(name)
    assert part is not None
    return call(
        f"{part.library}.{part.class_name}.from_pretrained",
        Name("MODEL"),
        subfolder=name,
        **script.pinned,
        dtype=script.dtype,
        quantization_config=configuration,
        device_map={"": script.device},
        use_safetensors=True,
    )


def _is_packed_there(configuration: Expression) -> bool:
    return any(name.rpartition(".")[2] in PACKED_ON_DEVICE for name in _functions(configuration))


def _functions(expression: Any) -> Iterator[str]:
    """The names of everything that is called in an expression."""
    if isinstance(expression, Call):
        yield expression.function
        for inner in (*expression.positional, *expression.named.values()):
            yield from _functions(inner)
    elif isinstance(expression, dict):
        for inner in expression.values():
            yield from _functions(inner)


# ----------------------------------------------------------------------------------- calling


def _calling(script: Script) -> list[str]:
    """The call that the workload asks for, and what is done with what comes of it."""
    work = script.workload
    known = arguments_of(script.model.pipeline)
    arguments = call_arguments(known, work, script.multiple)
    seeds = seeds_of(work, pictures_of(arguments))
    told: dict[str, Expression] = {
        name: value for name, value in arguments.items() if known.get(name) != value
    }
    lines = []
    if len(seeds) == 1:
        told["generator"] = Name(f'torch.Generator("cpu").manual_seed({seeds[0]})')
    else:
        apart = seeds[1] - seeds[0]
        lines.append(f"seeds = range({seeds[0]}, {seeds[-1] + 1}, {apart})")
        told["generator"] = Name("generators")
        lines.append('generators = [torch.Generator("cpu").manual_seed(one) for one in seeds]')
    if work.frames is not None:
        told["output_type"] = "pil"
    made = call("pipe", prompt=Name("PROMPT"), **told)
    if work.frames is not None:
        return [*lines, *laid_out("videos = ", made, ".frames"), *_saving_videos(len(seeds))]
    if len(seeds) == 1:
        return [*lines, *laid_out("image = ", made, ".images[0]"), 'image.save("image.png")']
    saving = ["for number, image in enumerate(images):", '    image.save(f"image-{number}.png")']
    return [*lines, *laid_out("images = ", made, ".images"), *saving]


def _saving_videos(count: int) -> list[str]:
    name = '"video.webp"' if count == 1 else 'f"video-{number}.webp"'
    loop = "for first, *others in videos:"
    if count > 1:
        loop = "for number, (first, *others) in enumerate(videos):"
    save = call(
        "first.save",
        Name(name),
        save_all=True,
        append_images=Name("others"),
        duration=_FRAME_MS,
    )
    return [loop, *laid_out("", save, indent="    ")]
