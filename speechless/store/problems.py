"""From the errors of a system or a client to a reason that a user understands and a retry policy can act on."""

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from speechless.contract import FailureReason, storage
from speechless.errors import StageError

_MISSING = {errno.ENOENT, errno.ENOTDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Put the URI before a StageError's message that does not have it, such as one that names a file there."""
    try:
        yield
    except StageError as problem:
        if uri in problem.message:
            raise
        raise StageError(problem.reason, f"{uri}: {problem.message}", problem.hint) from problem


@contextmanager
def reading(uri: str) -> Iterator[None]:
    """Turn an OSError while reading `uri` into a StageError that names it."""
    try:
        yield
    except OSError as error:
        what = f"{uri}: {_told(error)}"
        if error.errno in _MISSING:
            hint = "check the URI; the path is relative to the root of what is mounted"
            raise StageError(FailureReason.INPUT_NOT_FOUND, what, hint) from error
        if error.errno in _FORBIDDEN:
            hint = "let the stage's user or group read it (pods set fsGroup on volumes that support it)"
            raise StageError(FailureReason.INPUT_FORBIDDEN, what, hint) from error
        if error.errno in _FULL:
            hint = (
                "free some space on this machine, where it is brought to; the same command goes on from there"
            )
            raise StageError(FailureReason.STORE_FULL, what, hint) from error
        raise StageError(
            FailureReason.STORE_UNAVAILABLE, what, "the store did not answer; try again"
        ) from error


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Turn an OSError while writing below `uri` into a StageError that names it."""
    try:
        yield
    except OSError as error:
        what = f"{uri} cannot be written: {_told(error)}"
        if error.errno in _FULL:
            hint = "free space or enlarge the volume; half-written files of this attempt were removed"
            raise StageError(FailureReason.STORE_FULL, what, hint) from error
        if error.errno in _FORBIDDEN:
            hint = "mount the output's volume read-write and let the stage's user or group write to it"
            raise StageError(FailureReason.INPUT_FORBIDDEN, what, hint) from error
        raise StageError(
            FailureReason.STORE_UNAVAILABLE, what, "the store did not answer; try again"
        ) from error


def _told(error: OSError) -> str:
    """Such as `Permission denied (/mnt/models/base/config.json)`."""
    text = error.strerror or str(error)
    return f"{text} ({error.filename})" if error.filename else text


# -------------------------------------------------------------------------------------------------------------- buckets

# A number alone is no status: a client also says how long it took ("in 401.2µs"), and a port.
_NO_SPACE = re.compile(
    r"InsufficientStorage|QuotaExceeded|XMinioStorageFull|StorageFull|status(?: code)?: 507\b|No space left",
    re.I,
)
_REFUSED = re.compile(
    r"status(?: code)?: 40[13]\b|AccessDenied|InvalidAccessKeyId|AdminUserNotFound|SignatureDoesNotMatch"
    r"|ExpiredToken|InvalidToken",
    re.I,
)
_NO_KEYS = re.compile(r"169\.254\.|metadata\.google\.internal|InstanceCredentials|No credentials", re.I)
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.I)


def passes(error: Exception) -> bool:
    """Whether what a bucket's client says may pass: no network, a server's trouble, an answer that was cut."""
    text = str(error)
    definite = (FileNotFoundError, PermissionError, ValueError)
    if isinstance(error, definite) or type(error).__name__ in _DEFINITE:
        return False
    return not (
        _NO_SPACE.search(text) or _REFUSED.search(text) or _NO_KEYS.search(text) or _NO_BUCKET.search(text)
    )


_DEFINITE = frozenset(
    {
        "AlreadyExistsError", "InvalidPathError", "NotSupportedError", "PermissionDeniedError", "PreconditionError",
        "UnauthenticatedError", "UnknownConfigurationKeyError", "Stopped",
    }
)  # fmt: skip


@contextmanager
def bucket_answers(
    uri: str, scheme: storage.Scheme, settings: Mapping[str, str], *, writing: bool = False
) -> Iterator[None]:
    """Turn what a bucket's client says into a StageError that names the URI and says what to do."""
    from obstore.exceptions import BaseError

    try:
        with naming(uri):
            yield
    except (BaseError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno:
            with reading(uri):  # this machine's own trouble, such as a full disk
                raise
        raise _of_bucket(uri, scheme, settings, writing, error) from error


def _of_bucket(
    uri: str, scheme: storage.Scheme, settings: Mapping[str, str], writing: bool, error: Exception
) -> StageError:
    text = first_line(error)
    did = "cannot be written" if writing else "cannot be read"
    private = [one.name for one in scheme.settings if one.private]
    given = [name for name in private if name in settings]
    kind = type(error).__name__
    if _NO_BUCKET.search(str(error)):
        hint = f"create the {scheme.host}, or correct its name; check the endpoint and region, too"
        return StageError(FailureReason.INPUT_NOT_FOUND, f"{uri}: there is no such {scheme.host}", hint)
    if _NO_SPACE.search(str(error)):
        hint = "free some space or raise the quota; the same run goes on from there"
        return StageError(FailureReason.STORE_FULL, f"{uri} {did}: the store is full: {text}", hint)
    if _NO_KEYS.search(str(error)):
        hint = f"give a Secret with {', '.join(private[:2])} (secretRef), or set them in the environment"
        return StageError(
            FailureReason.INPUT_FORBIDDEN, f"{uri} {did}: there are no credentials: {text}", hint
        )
    if kind in {"PermissionDeniedError", "UnauthenticatedError"} or _REFUSED.search(str(error)):
        who = f"those of {', '.join(given)}" if given else "the machine's own credentials"
        hint = (
            f"they need the right to {'read, write, list and delete' if writing else 'read and list'} there"
        )
        return StageError(FailureReason.INPUT_FORBIDDEN, f"{uri} {did} with {who}: {text}", hint)
    if isinstance(error, FileNotFoundError):
        return StageError(FailureReason.INPUT_NOT_FOUND, f"{uri}: it is gone: {text}", "check the URI")
    hint = (
        "check the endpoint, the network and the server; nothing half-written is taken for whole: try again"
    )
    return StageError(FailureReason.STORE_UNAVAILABLE, f"{uri} {did}: {text}", hint)


def first_line(error: Exception) -> str:
    """A client's own words, in a line: without its debugging output, and without URLs' queries, which may be keys."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _QUERY.sub(r"\1?...", lines[0] if lines else type(error).__name__)[:300]


_QUERY = re.compile(r"(https?://[^\s?]+)\?\S+")
