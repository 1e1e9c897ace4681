"""Whether an object in the cluster still is what it should be: every wanted field has its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000),
    "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15), "E": Decimal(10**18),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40), "Pi": Decimal(2**50),
    "Ei": Decimal(2**60),
}  # fmt: skip
_AMOUNTS = frozenset({"requests", "limits"})


def covers(observed: Any, wanted: Any) -> bool:
    """Whether `observed` has all of `wanted`. Lists are compared item by item, amounts by their value.

    >>> covers({"a": 1, "b": [{"x": 1, "y": 2}]}, {"b": [{"x": 1}]})
    True
    >>> covers({"requests": {"cpu": "1", "memory": "1Gi"}}, {"requests": {"cpu": "1000m", "memory": "1024Mi"}})
    True
    """
    if isinstance(wanted, Mapping):
        return isinstance(observed, Mapping) and all(
            _entry(observed, key, value) for key, value in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        key = _key(wanted)
        if key and isinstance(observed, Sequence) and _key(observed) == key:
            # As server-side apply merges them: others may add containers or variables.
            found = {item[key]: item for item in observed}
            return all(covers(found.get(item[key]), item) for item in wanted)
        return (
            isinstance(observed, Sequence)
            and not isinstance(observed, str)
            and len(observed) == len(wanted)
            and all(covers(a, b) for a, b in zip(observed, wanted, strict=True))
        )
    return bool(observed == wanted)


def _key(items: Sequence[Any]) -> str | None:
    """What tells the items of a list apart: a mount's path (one volume may be mounted twice), else the name."""
    keys = (key for key in ("mountPath", "name") if all(isinstance(i, Mapping) and key in i for i in items))
    return next(keys, None) if items else None


def _entry(observed: Mapping[str, Any], key: str, value: Any) -> bool:
    found = observed.get(key)
    if found is None:
        # The API server drops what is empty, false or 0 of some types.
        return value in ({}, [], "", False, 0, None)
    if key in _AMOUNTS and isinstance(value, Mapping) and isinstance(found, Mapping):
        return all(name in found and _same_amount(found[name], amount) for name, amount in value.items())
    return covers(found, value)


def _same_amount(a: Any, b: Any) -> bool:
    """Whether two quantities are one to the API server, which rounds up to thousandths (`1.5m` is kept as `2m`).

    >>> _same_amount("2m", "1.5m"), _same_amount("2m", "2.5m")
    (True, False)
    """
    known, wanted = (amount(str(each)) for each in (a, b))
    return a == b or (known is not None and wanted is not None and _stored(known) == _stored(wanted))


def _stored(value: Decimal) -> int:
    return int((value * 1000).to_integral_value(ROUND_CEILING))


def amount(text: str) -> Decimal | None:
    """The value of a quantity (Kubernetes, "Quantity"); None when it is none.

    >>> amount("1.5Gi") == 1536 * 2**20
    True
    """
    digits = text.rstrip("numkKMGTPEi")
    try:
        return Decimal(digits) * _SUFFIX[text[len(digits) :]]
    except (InvalidOperation, KeyError):
        return None
