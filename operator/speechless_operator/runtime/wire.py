"""JSON on the wire: what is sent is legal as JSON and as YAML, what comes back is decoded with care."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from speechless_operator.desired.objects import Object

_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Legal in a JSON string as they are; YAML refuses them, or takes them for the end of a line."""

_AS_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""Only what `json` writes, too."""
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(body: Object) -> bytes:
    r"""A request's body. The API server reads a server-side apply as YAML, of which JSON is not quite a subset.

    A character beyond U+FFFF must not be written as a surrogate pair (`\ud83d\ude80`), which JSON's ASCII form does and
    YAML refuses: so the body is UTF-8. Control characters that JSON lets through must be escaped. Half a surrogate pair
    has no UTF-8 form and becomes `?`.

    Raises:
        ValueError: A number that JSON does not have (NaN, infinity).
    """
    try:
        raw = orjson.dumps(body, option=_AS_JSON)
    except TypeError:  # half a surrogate pair, or what the encoder below says better
        raw = b""
    # Most bodies are plain ASCII. orjson writes `null` for a number that JSON does not have; there the other one looks.
    if raw and raw.isascii() and b"\x7f" not in raw and b"null" not in raw:
        return raw
    text = _ENCODER.encode(body)
    text = _NOT_YAML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    return text.encode("utf-8", "replace")


def decode(raw: bytes) -> Any:
    r"""What a JSON text says: every event of a watch and every answer.

    orjson is strict where `json` is not: half a surrogate pair (`\ud800`), a number beyond a double. An object that has
    one is read all the same, or one resource's text would break a watch for everybody.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw)


def text_of(raw: bytes) -> str:
    """A log's text: whatever bytes a program printed, and cut anywhere.

    What a cut left of a character at either end is dropped; other bytes that are not UTF-8 become U+FFFD.
    """
    start = 0
    while start < min(3, len(raw)) and raw[start] & 0xC0 == 0x80:
        start += 1
    end = len(raw)
    for back in range(1, min(4, end - start) + 1):
        byte = raw[end - back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        if length > back:
            end -= back
        break
    return raw[start:end].decode("utf-8", "replace")
