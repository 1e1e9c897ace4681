"""What goes over the wire and comes back: any text in, any bytes out."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from speechless_operator.runtime.wire import decode, encode, text_of

# What go-yaml's reader takes (yaml/v2 readerc.go); everything else is "control characters are not allowed".
_YAML = re.compile("[\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]*")


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_arrives_as_json_and_as_yaml(text: str) -> None:
    raw = encode({"text": text, text[:100]: 1})
    assert json.loads(raw) == {"text": text, text[:100]: 1}
    as_sent = raw.decode()
    assert _YAML.fullmatch(as_sent)
    assert not re.search("[\x85\u2028\u2029]", as_sent), "YAML folds what it takes for the end of a line"
    assert not re.search(r"\\u[dD][89abAB]", as_sent), "YAML has no surrogate pairs"


@pytest.mark.parametrize(
    "text", ["\U0001f680", "\U00020bb7", "\u2028", "\x85", "\x7f", "\x00", "\ufeff", "é✓中"]
)
def test_what_yaml_reads_is_what_was_meant(text: str) -> None:
    assert yaml.safe_load(encode({"a": text})) == {"a": text}


def test_half_a_surrogate_pair_does_not_stop_a_request() -> None:
    assert encode({"a": "\ud800x"}) == b'{"a":"?x"}'


def test_a_number_that_json_does_not_have_is_refused_here() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode({"a": float("nan")})
    assert encode({"a": None, "b": "null"}) == b'{"a":null,"b":"null"}'


def test_what_is_no_json_is_refused_here() -> None:
    for value in (datetime(2026, 1, 2, tzinfo=UTC), object(), {1, 2}):
        with pytest.raises(TypeError, match="not JSON serializable"):
            encode({"a": value})


_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_LEAVES = st.none() | st.booleans() | _NUMBERS | st.text()


@given(st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_read_is_what_json_reads(value: object) -> None:
    raw = json.dumps(value).encode()
    assert decode(raw) == json.loads(raw)


@pytest.mark.parametrize("raw", [b'{"a":"\\ud800x"}', b'{"a":1e999}', b'{"a":-1e999}', b'{"a":NaN}'])
def test_one_odd_object_is_read_all_the_same(raw: bytes) -> None:
    assert repr(decode(raw)) == repr(json.loads(raw))


def test_a_number_of_more_than_64_bits_is_a_double_as_in_kubernetes() -> None:
    assert decode(b'{"a":123456789012345678901234567890}') == {"a": 1.2345678901234568e29}


@pytest.mark.parametrize("raw", [b"", b"{", b"<html>", b'{"a":"\xff"}'])
def test_what_is_not_json_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|codec"):
        decode(raw)


BAR = "|████| 42%\r".encode()


@given(st.integers(0, len(BAR)), st.integers(0, len(BAR)))
def test_a_log_cut_within_a_character_loses_that_character_alone(start: int, end: int) -> None:
    shown = text_of(BAR[start:end])
    assert "\ufffd" not in shown
    assert shown in BAR.decode()
    assert len(shown.encode()) >= end - start - 4


@given(st.binary())
def test_any_bytes_are_a_text(raw: bytes) -> None:
    text_of(raw).encode()


def test_bytes_of_another_encoding_are_shown_as_far_as_they_can_be() -> None:
    assert text_of("Fehler: größer\n".encode("latin-1")) == "Fehler: gr\ufffd\ufffder\n"
    assert text_of(b"whole") == "whole"
    assert text_of("ganz é".encode()) == "ganz é"
