"""JSON on the wire: what is sent is legal as JSON and as YAML, what comes back is decoded with care."""

from __future__ import annotations

import json
import re

from speechless_operator.desired.objects import Object

_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Legal in a JSON string as they are; YAML refuses them, or takes them for the end of a line."""


def encode(body: Object) -> bytes:
    r"""A request's body. The API server reads a server-side apply as YAML, of which JSON is not quite a subset.

    A character beyond U+FFFF must not be written as a surrogate pair (`\ud83d\ude80`), which JSON's ASCII form does and
    YAML refuses: so the body is UTF-8. Control characters that JSON lets through must be escaped. Half a surrogate pair
    has no UTF-8 form and becomes `?`.

    Raises:
        ValueError: A number that JSON does not have (NaN, infinity).
    """
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = _NOT_YAML.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    return text.encode("utf-8", "replace")


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
