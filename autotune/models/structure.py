"""A model's modules on the meta device: real classes and shapes, without a byte of weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from autotune.records import Model, Workload


class Structure:
    """Builds components from their configurations, each at most once, on the meta device."""

    def __init__(self, model: Model, workload: Workload) -> None:
        self.record = model
        self.workload = workload
        self._modules: dict[str, Any] = {}

    def module(self, component: str) -> Any:
        """The component's module without weights, or ``None`` if the pipeline has none."""
        if component not in self._modules:
            self._modules[component] = self._build(component)
        return self._modules[component]

    def _build(self, name: str) -> Any:
        import torch

        part = self.record.component(name)
        if part is None:
            return None
        kind = getattr(importlib.import_module(part.library), part.class_name)
        folder = Path(self.record.folder) / name
        with torch.device("meta"):
            if part.library == "diffusers":
                return kind.from_config(kind.load_config(folder))
            configuration = kind.config_class.from_pretrained(folder)
            return kind(configuration)
