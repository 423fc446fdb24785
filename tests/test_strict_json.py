"""What is JSON and what only Python takes for it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.errors import BadInput
from autotune.strict_json import canonical_json, digest, parse_json, pretty_json

#: The SHA-256 of nothing, as everybody knows it.
EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "line 1, column 1"),
        (b"   ", "not JSON"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte 0"),
        ('{"a": 1}'.encode("utf-16-le"), "line 1, column 2"),
        (b'{"a": "\xff"}', "byte 7"),
        (b'"\xed\xa0\x80"', "byte 1"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b"[Infinity]", "line 1, column 2"),
        (b"[\n-Infinity]", "line 2, column 1"),
        (b"[1e400]", "too large"),
        (b"[-1e999]", "too large"),
        (b"[" + b"9" * 21 + b"]", "21 digits"),
        (b"[" + b"9" * 5000 + b"]", "5000 characters"),
        (b"[-0]", "-0"),
        (b'["\\ud800"]', "line 1, column 2"),
        (b'["\\udc00\\ud800"]', "surrogate"),
        (b'{"\\ud800": 1}', "surrogate"),
        (b'["\\u0000"]', "NUL"),
        (b'["\0"]', "line 1, column 3"),
        (b"{} {}", "column 4"),
        (b"{}x", "line 1, column 3"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"a": 1, "\\u0061": 2}', "'a' twice"),
        (b'[{"a": {"b": 1, "b": 1}}]', "'b' twice"),
        (b"[" * 17 + b"]" * 17, "deeper than 16"),
        (b"[" * 100_000, "deeper than 16"),
        (b'{"a":' * 100_000, "deeper than 16"),
        (b'"' + b"a" * 4097 + b'"', "longer than 4096"),
        (b'"' + b"\\u00e9" * 4097 + b'"', "longer than 4096"),
        (b'{"' + b"a" * 4097 + b'": 1}', "longer than 4096"),
        (b"[" + b"0," * 1000 + b"0]", "1001 entries"),
        (json.dumps({str(n): 0 for n in range(1001)}).encode(), "1001 entries"),
        (b"[01]", "line 1"),
        (b"[1.]", "line 1"),
        (b"[+1]", "line 1"),
        (b"['a']", "line 1"),
        (b"[1,]", "line 1"),
        (b"// a\n{}", "line 1"),
        (b"[\xc2\xa01]", "line 1"),
    ],
)
def test_refuses_with_the_position(data: bytes, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_json(data, what="the outcome")
    assert problem in caught.value.message
    assert caught.value.message.startswith("the outcome ")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"null", None),
        (b"[18446744073709551616]", [2**64]),
        (b"[-0.0, 1e5, 1E-5]", [0.0, 1e5, 1e-5]),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"NaN -0 1e400 [[[[[[[[[[[[[[[[[[[["', "NaN -0 1e400 [[[[[[[[[[[[[[[[[[[["),
        (b'"\\"[[[[[[[[[[[[[[[[[\\\\"', '"[[[[[[[[[[[[[[[[[\\'),
        (b"[" * 16 + b"]" * 16, json.loads("[" * 16 + "]" * 16)),
        (b'"' + b"a" * 4096 + b'"', "a" * 4096),
    ],
)
def test_reads_what_is_json(data: bytes, value: object) -> None:
    assert parse_json(data, what="it") == value


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 120_000,
        b'"' + b'\\"' * 120_000 + b"\\",
        b'"' * 250_000,
        b"-" * 250_000,
        b"1-" * 125_000,
        b"a" * 250_000,
        b"\\" * 250_000,
        b'["\\u00e9",' * 25_000,
        b"1." + b"1" * 250_000,
    ],
)
def test_takes_linear_time_for_hostile_bytes(data: bytes) -> None:
    start = time.process_time()
    with pytest.raises(BadInput):
        parse_json(data, what="it")
    # A quadratic scan of 250 000 characters takes minutes.
    assert time.process_time() - start < 5


@given(VALUES)
def test_reads_what_it_writes(value: object) -> None:
    assert parse_json(canonical_json(value), what="it") == value
    assert parse_json(pretty_json(value), what="it") == value


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_json_or_bad_input(data: bytes) -> None:
    try:
        value = parse_json(data, what="it")
    except BadInput:
        return
    assert json.loads(data) == value


def test_writes_one_form() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    assert pretty_json({"b": [1], "a": 2}) == b'{\n "a": 2,\n "b": [\n  1\n ]\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_names_the_digest() -> None:
    assert digest(b"") == EMPTY
