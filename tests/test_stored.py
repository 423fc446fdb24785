"""What lies where autotune keeps its records is read as it was written, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.estimate.ceilings import Ceilings, guess_host, known_ceilings
from autotune.estimate.kept import keep_answer, kept_answer
from autotune.estimate.profile import Profile, bare_profile, read_profile
from autotune.models.learnt import Learnt
from autotune.records import (
    Fingerprint,
    Inspection,
    InspectSpec,
    Likeness,
    Outcome,
    Record,
    Scores,
)
from autotune.search.study_folder import STUDY, Study, open_folder
from autotune.status import Status
from autotune.stored import MOST_DEPTH, parse_stored
from tests.search.factory import make_device, make_model

STUDY_ASKED = Study(
    asked={"model": ["demo", "1"], "seed": 0, "space": {"levers": {"dtype": ["fp32"]}}},
    budgets_bytes={"1GB": 10**9},
    fingerprint=Fingerprint(device={"name": "A CPU"}, host={}, software={"torch": "2.13.0"}),
)
#: One of every kind that is kept in a folder of a study or in the cache.
KEPT: dict[str, Record] = {
    "outcome": Outcome(trial="0007", status=Status.MEASURED, stage="done", samples_s=(1.5, 2.0)),
    "inspection": Inspection(choices=()),
    "request": InspectSpec(model=make_model(), device=make_device()),
    "study": STUDY_ASKED,
    "profile": bare_profile(make_model()),
    "likeness": Likeness(scores=(Scores(picture=0, psnr_db=40.0, ssim=0.99, flip=0.01),)),
    "ceilings": guess_host(),
    "learnt": Learnt(
        repository="a/b",
        commit="0" * 40,
        pipeline="FluxPipeline",
        components=make_model().components,
        files=("model_index.json",),
    ),
}
NAMES = sorted(KEPT)


def as_bytes(record: Record) -> bytes:
    return record.model_dump_json().encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_read_back_as_it_was_written(name: str) -> None:
    assert parse_stored(as_bytes(KEPT[name]), type(KEPT[name]), what=name) == KEPT[name]


def ways_to_be_wrong(data: bytes) -> dict[str, bytes]:
    """A record's bytes as no strict reader takes them."""
    text = data.decode()
    key = next(iter(json.loads(data)))
    return {
        "a byte order mark": b"\xef\xbb\xbf" + data,
        "UTF-16": text.encode("utf-16"),
        "no UTF-8": data.replace(b'"', b'"\xff', 1),
        "half a surrogate pair": data.replace(b'"', b'"\\ud800', 1),
        "NUL": data.replace(b'"', b'"\\u0000', 1),
        "a key that stands twice": b'{"%s": null, ' % key.encode() + data[1:],
        "an unknown key": b'{"surplus": 1, ' + data[1:],
        "NaN": b'{"surplus": NaN, ' + data[1:],
        "a number that is too large": b'{"surplus": 1e999, ' + data[1:],
        "digits without end": b'{"surplus": ' + b"9" * 5000 + b", " + data[1:],
        "too deep": b'{"surplus": ' + b"[" * MOST_DEPTH + b"]" * MOST_DEPTH + b", " + data[1:],
        "far too deep": b"[" * 100_000,
        "two documents": data + data,
        "cut short": data[:-1],
        "nothing": b"",
        "another kind of value": b"[]",
        "a pickle": b"\x80\x04.",
    }


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_strict_record_is_refused_in_one_sentence(name: str) -> None:
    for data in ways_to_be_wrong(as_bytes(KEPT[name])).values():
        with pytest.raises(BadInput) as caught:
            parse_stored(data, type(KEPT[name]), what=name)
        assert caught.value.message.startswith(name)
        assert caught.value.message.isprintable()
        assert caught.value.hint


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 4000), st.binary(max_size=3), st.integers(0, 4000))
def test_changed_bytes_are_a_record_or_bad_input(
    name: str, start: int, new: bytes, end: int
) -> None:
    data = as_bytes(KEPT[name])
    start, end = sorted((start % len(data), end % len(data)))
    changed = data[:start] + new + data[end if end - start < 40 else start + 1 :]
    try:
        found = parse_stored(changed, type(KEPT[name]), what=name)
    except BadInput:
        return
    assert parse_stored(as_bytes(found), type(found), what=name) == found


def test_a_broken_profile_is_bad_input_and_a_huge_one_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(as_bytes(KEPT["profile"]).replace(b'"format":1', b'"format":2'))
    with pytest.raises(BadInput, match="format"):
        read_profile(path)
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadInput, match="larger than"):
        read_profile(path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_broken_answer_is_asked_anew(cache: Path) -> None:
    keep_answer({"of": 1}, KEPT["profile"])
    (path,) = (cache / "answers").iterdir()
    sound = path.read_bytes()
    assert kept_answer({"of": 1}, Profile) == KEPT["profile"]
    for data in ways_to_be_wrong(sound).values():
        path.write_bytes(data)
        assert kept_answer({"of": 1}, Profile) is None


def test_broken_ceilings_are_not_believed(cache: Path) -> None:
    device = make_device()
    folder = cache / "ceilings"
    usual = known_ceilings(device)
    measured = Ceilings(source="measured", flops={"fp32": 1.0}, copy_bytes_s=1.0, launch_s=1.0)
    folder.mkdir(parents=True, exist_ok=True)
    from autotune.estimate import ceilings

    path = ceilings._cache_file(device, None)
    path.write_bytes(as_bytes(measured))
    assert known_ceilings(device) == measured
    for data in ways_to_be_wrong(as_bytes(measured)).values():
        path.write_bytes(data)
        assert known_ceilings(device) == usual


def test_a_broken_study_is_not_continued_and_left_as_it_is(tmp_path: Path) -> None:
    first = open_folder(tmp_path, "demo", STUDY_ASKED, restart=False)
    first.release()
    again = open_folder(tmp_path, "demo", STUDY_ASKED, restart=False)
    again.release()
    assert again.resumed
    path = first.path / STUDY
    sound = path.read_bytes()
    newer = sound.replace(b'"format":1', b'"format":2')
    for data in (newer, *ways_to_be_wrong(sound).values()):
        path.write_bytes(data)
        other = open_folder(tmp_path, "demo", STUDY_ASKED, restart=False)
        other.release()
        assert not other.resumed
        assert path.read_bytes() == data
        (other.path / STUDY).unlink()
