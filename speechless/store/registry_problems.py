"""From what a registry or the way to it says to a reason that a user understands and a retry policy can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from speechless.contract import FailureReason, storage
from speechless.errors import StageError
from speechless.store.problems import first_line, naming, reading
from speechless.store.registry import RegistryError


@contextmanager
def registry_answers(
    uri: str, scheme: storage.Scheme, settings: Mapping[str, str], *, writing: bool = False
) -> Iterator[None]:
    """Turn what a registry or the way to it says into a StageError that names the URI and says what to do."""
    import requests
    import urllib3

    try:
        with naming(uri):
            yield
    except RegistryError as error:
        raise _of_registry(uri, scheme, settings, writing, error) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        if (
            isinstance(error, OSError)
            and error.errno
            and not isinstance(error, requests.exceptions.RequestException)
        ):
            with reading(uri):  # this machine's own trouble, such as a full disk
                raise
        did = "cannot be written" if writing else "cannot be read"
        what = f"{uri} {did}: {first_line(error)}"
        if isinstance(error, requests.exceptions.SSLError):
            hint = (
                "give the registry's certificate as ca.crt, or REGISTRY_PLAIN_HTTP=true for one without TLS"
            )
        else:
            hint = "check the registry's name and the network; nothing half-written is taken for whole: try again"
        raise StageError(FailureReason.STORE_UNAVAILABLE, what, hint) from error


def _of_registry(
    uri: str, scheme: storage.Scheme, settings: Mapping[str, str], writing: bool, error: RegistryError
) -> StageError:
    did = "cannot be written" if writing else "cannot be read"
    given = [one.name for one in scheme.settings if one.private and one.name in settings]
    if error.status in (401, 403):
        who = f"the credentials of {', '.join(given)}" if given else "no credentials, or the machine's own"
        hint = (
            f"they need the right to {'pull and push' if writing else 'pull'} there (secretRef, docker login)"
        )
        return StageError(FailureReason.INPUT_FORBIDDEN, f"{uri} {did} with {who}: {error}", hint)
    if error.status == 404:
        hint = "check the repository; some registries want it created first"
        return StageError(FailureReason.INPUT_NOT_FOUND, f"{uri} {did}: {error}", hint)
    if error.status == 400:
        hint = "check the names of registry, repository and tag"
        return StageError(FailureReason.INVALID_SPEC, f"{uri} {did}: {error}", hint)
    if error.status in (413, 507):
        hint = "raise the registry's limit or free some space; the same run goes on from there"
        return StageError(FailureReason.STORE_FULL, f"{uri} {did}: {error}", hint)
    if error.status == 405:
        hint = "the registry is read-only, or it is a mirror: choose another output"
        return StageError(FailureReason.INPUT_FORBIDDEN, f"{uri} {did}: {error}", hint)
    hint = "check the registry; nothing half-written is taken for whole: try again"
    return StageError(FailureReason.STORE_UNAVAILABLE, f"{uri} {did}: {error}", hint)
