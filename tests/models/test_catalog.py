"""The catalogue agrees with itself and with the installed diffusers."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from pydantic import ValidationError

from autotune.models.catalog import Catalog, Entry, aliases, find, find_pipeline, load_catalog
from autotune.models.index import _in_diffusers

ENTRIES = load_catalog().entries
by_name = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)

REQUIRED = """
demo flux flux-schnell flux2 flux2-klein sd15 sdxl sd3 sd35-medium sd35-large qwen-image
z-image hunyuan-image chroma hidream pixart-sigma sana lumina2 cogview4 wan-1.3b wan-14b
wan2.2 hunyuan-video ltx cogvideox mochi
"""


def test_every_promised_model_is_known() -> None:
    assert set(REQUIRED.split()) <= set(aliases())


@by_name
def test_an_entry_is_found_by_each_of_its_names_in_any_case(entry: Entry) -> None:
    for name in (entry.name, *entry.aliases, entry.hub or entry.name):
        assert find(name) is find(name.upper()) is entry


@by_name
def test_an_entry_is_well_formed(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", entry.family)
    assert entry.hub is None or re.fullmatch(r"[\w-]+/[\w.-]+", entry.hub)
    assert (entry.hub is None) == (entry.name == "demo")
    size = entry.default
    assert size.height % 16 == size.width % 16 == 0
    assert size.steps > 0
    # One frame, then groups of four, six or eight: how the video VAEs compress time.
    assert size.frames is None or any((size.frames - 1) % n == 0 for n in (4, 6, 8))
    assert entry.workload.prompts == entry.prompts
    # Two, of as many words: pictures are compared of two prompts and two seeds.
    first, second = entry.prompts
    assert first != second
    assert len(first.split()) == len(second.split())


@by_name
def test_its_pipeline_is_one_of_diffusers(entry: Entry) -> None:
    assert _in_diffusers(entry.pipeline)


def test_the_import_table_is_read_as_diffusers_itself_reads_it() -> None:
    import diffusers

    for entry in ENTRIES:
        assert hasattr(diffusers, entry.pipeline)
    assert not _in_diffusers("NoSuchPipeline")
    assert not hasattr(diffusers, "NoSuchPipeline")


def test_a_name_cannot_stand_for_two_models() -> None:
    first, second = ENTRIES[:2]
    with pytest.raises(ValidationError, match="named twice in the catalogue: flux"):
        Catalog(entries=(second, first.but(aliases=("FLUX",))))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        Entry.model_validate({**dict(ENTRIES[0]), "colour": "red"})


def test_the_typical_model_of_a_pipeline_is_a_published_one() -> None:
    typical = find_pipeline("FluxPipeline")
    assert typical is not None
    assert typical.name == "flux"
    assert find_pipeline("NoSuchPipeline") is None


def test_reading_the_catalogue_imports_nothing_heavy() -> None:
    code = (
        "import sys, autotune.models.catalog as c, autotune.models.resolve; c.load_catalog();"
        "print({'torch', 'diffusers', 'transformers', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
