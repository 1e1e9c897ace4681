"""Which store reaches a URI: by the row of its scheme."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from speechless.contract import FailureReason, storage
from speechless.errors import StageError
from speechless.store.base import Access, Store
from speechless.store.settings import settings_for


class _Module(Protocol):
    """What a module of a row's `store` has."""

    def connect(self, scheme: storage.Scheme, access: Access, settings: Mapping[str, str]) -> Store: ...


def store_for(uri: str, access: Access | None = None, secret: str | None = None) -> Store:
    """The store that reaches a URI, with the settings of the Secret or of the environment.

    StageError: `INVALID_SPEC` for a URI that means no place, `INPUT_FORBIDDEN` for a Secret that does not fit.
    """
    access = access or Access()
    try:
        scheme = storage.check(uri).scheme
    except storage.UriError as error:
        raise StageError(FailureReason.INVALID_SPEC, f"{uri} {error.what}", error.hint) from None
    module = cast(_Module, import_module(f"speechless.store.{scheme.store}"))
    return module.connect(scheme, access, settings_for(uri, scheme, access, secret))
