"""A model's modules on the meta device: real classes and shapes, without a byte of weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotune.models.catalog import find
from autotune.models.index import LIBRARIES
from autotune.models.published import Published, parts_of
from autotune.records import Component, Model, Workload


class Structure:
    """Builds components from their configurations, each at most once, on the meta device.

    A model without a folder is one of the catalogue, whose configurations lie in the package.
    """

    def __init__(self, model: Model, workload: Workload) -> None:
        self.record = model
        self.workload = workload
        self._modules: dict[str, Any] = {}

    def module(self, component: str) -> Any:
        """The component's module without weights, or ``None`` if the pipeline has none."""
        if component not in self._modules:
            part = self.record.component(component)
            self._modules[component] = part and self._build(part)
        return self._modules[component]

    def others(self, place: Path) -> Mapping[str, Any]:
        """What a pipeline needs beside its modules: schedulers, tokenizers.

        Args:
            place: Where tokenizers are made for a model that has no folder.
        """
        if self.record.folder:
            parts = [part for part in self.record.components if not part.parameters]
            return {part.name: self._loaded(part) for part in parts}
        return _made(self.record, self._published(), place)

    def _published(self) -> Mapping[str, Published]:
        entry = find(self.record.id)
        assert entry is not None, "only models of the catalogue are planned without a folder"
        return parts_of(entry)

    def _build(self, part: Component) -> Any:
        import torch

        from autotune.models.skeleton.build import structure_of

        if not self.record.folder:
            return structure_of(self._published()[part.name])
        kind = _class_of(part)
        folder = Path(self.record.folder) / part.name
        with torch.device("meta"):
            if hasattr(kind, "load_config"):  # one of diffusers
                return kind.from_config(kind.load_config(folder))
            configuration = kind.config_class.from_pretrained(folder)
            return kind(configuration)

    def _loaded(self, part: Component) -> Any:
        kind = _class_of(part)
        return kind.from_pretrained(Path(self.record.folder) / part.name, local_files_only=True)


def _class_of(part: Component) -> Any:
    # Anything else is a module of a pipeline, as a safety checker's is (index.py).
    own = part.library if part.library in LIBRARIES else f"diffusers.pipelines.{part.library}"
    return getattr(importlib.import_module(own), part.class_name)


def _made(model: Model, parts: Mapping[str, Published], place: Path) -> Mapping[str, Any]:
    import transformers

    from autotune.models.skeleton.build import asked_for, longest_text, structure_of
    from autotune.models.skeleton.tokenizer import write_tokenizer

    made = {name: structure_of(part) for name, part in parts.items() if not part.parameters}
    for name in asked_for(model.pipeline):
        if name.startswith("tokenizer"):
            write_tokenizer(place / name, longest=longest_text(parts, name))
            made[name] = transformers.PreTrainedTokenizerFast.from_pretrained(place / name)
    return made
