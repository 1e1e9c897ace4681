"""Where data and artifacts can be: the table of URI schemes. Pure: what a URI means, not what is there.

A row says everything that the operator and the stages need: how a URI looks, what a pod mounts for it, which keys of a
Secret it takes, and which module of `speechless.store` reaches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote

from speechless.contract.model import Rule


class UriError(ValueError):
    """A URI that means no place: what is wrong with it, and what to write."""

    def __init__(self, uri: str, what: str, hint: str) -> None:
        """`what` goes on after the URI: `file://x is not an absolute path`."""
        super().__init__(f"{uri} {what}: {hint}")
        self.uri, self.what, self.hint = uri, what, hint


class Mount(StrEnum):
    """What a pod mounts so that its stage finds a place as a folder."""

    NOTHING = "nothing"
    """The stage reaches the place by itself."""
    CLAIM = "claim"
    """A PersistentVolumeClaim of the namespace, named by the URI's first part."""
    IMAGE = "image"
    """An image volume (Kubernetes 1.35, or 1.33 with its feature gate); the URI's first part is its reference."""


class Setting(NamedTuple):
    """What a store is told beside the URI: a key of a Secret, or an environment variable of this name."""

    name: str
    text: str
    """What it is, in one line."""
    private: bool
    """Whether it says who asks: of these, a Secret's replace all of the environment's, so that no two are mixed."""


@dataclass(frozen=True)
class Scheme:
    """A kind of place. What guards something has no default: whoever adds a row has to decide it."""

    name: str
    """Before `://`."""
    text: str
    """What it is, in one line."""
    example: str
    """With `<...>` for what the user puts in."""
    pattern: str
    """A regular expression (RE2), anchored, for what a resource may say: the API server matches it."""
    may_write: bool
    """Whether an artifact that a pod publishes there is still there when the pod is gone."""
    administrator_only: bool
    """Whether resources may name it only where the administrator allows it: it reaches beyond the namespace."""
    mounts: Mount
    """What the pod mounts for it."""
    host: str
    """What the first part is called in messages, such as `claim`; empty: there is none, and the path is absolute."""
    settings: tuple[Setting, ...]
    """What its store takes of a Secret (`secretRef`) or of the environment. Empty: a Secret is refused."""
    chooses: bool
    """Whether its store can read a part of a source, by patterns of names (`include`, `exclude`)."""
    before_run: str
    """What stands before a run in its artifact's URI: `/`, or `:` where it is the tag of a repository."""
    store: str
    """The module of `speechless.store` that reaches it."""
    first: str = "[^/]*"
    """A regular expression of the first part, where a slash does not end it."""

    def first_part(self, rest: str) -> str:
        """The first part of what stands behind `://`; empty if there is none."""
        found = re.match(self.first, rest)
        return found.group() if found else ""

    def check(self, uri: str) -> Place:
        """The place that a URI of this scheme means; UriError if it means none."""
        _, _, rest = uri.partition("://")
        if any(sign in rest for sign in "?#"):
            raise UriError(uri, "has a query or a fragment", "write the sign in a file's name as %3F or %23")
        host = self.first_part(rest)
        tail = rest.removeprefix(host)
        # Percent-encoding is undone (RFC 3986). A file's name need not be UTF-8: Python keeps its bytes as surrogates.
        parts = [unquote(part, errors="surrogateescape") for part in tail.split("/") if part not in {"", "."}]
        if any(part == ".." or "/" in part or "\0" in part for part in parts):
            raise UriError(uri, "leads out of its place", "write the path without '..'")
        if self.host and not host:
            raise UriError(uri, f"names no {self.host}", f"write {self.example}")
        if not self.host and (host or not tail):
            raise UriError(uri, "is not an absolute path", f"write three slashes: {self.example}")
        return Place(uri, self, host, tuple(parts))


class Place(NamedTuple):
    """What a URI means."""

    uri: str
    scheme: Scheme
    host: str
    """The first part, such as the claim, where the scheme has one; empty otherwise."""
    parts: tuple[str, ...]
    """The path below it: no part is empty, `.` or `..`, and none holds a slash."""

    @property
    def name(self) -> str:
        """A short name, such as of a folder: its last part, without the revision or tag behind it.

        >>> check("s3://models/base/tiny").name, check("hf://org/name@v1").name
        ('tiny', 'name')
        """
        return re.split("[@:]", self.parts[-1] if self.parts else self.host)[0]


_CA = Setting("ca.crt", "certificates to trust beside the machine's, as PEM", private=False)

SCHEMES: dict[str, Scheme] = {
    row.name: row
    for row in (
        Scheme(
            name="pvc",
            text="a path on a claim of this namespace",
            example="pvc://<claim>/<path>",
            pattern=r"^pvc://[a-z0-9]([-.a-z0-9]*[a-z0-9])?/.+$",
            may_write=True,
            administrator_only=False,
            mounts=Mount.CLAIM,
            host="claim",
            settings=(),
            chooses=False,
            before_run="/",
            store="local",
        ),
        Scheme(
            name="hf",
            text="a model or, below `datasets`, a dataset of a hub",
            example="hf://<organization>/<name>@<revision>",
            pattern=r"^hf://(datasets/)?[A-Za-z0-9][-._A-Za-z0-9]*/[A-Za-z0-9][-._A-Za-z0-9]*(@[A-Za-z0-9][^@]*)?(/[^@]+)?$",
            may_write=False,
            administrator_only=False,
            mounts=Mount.NOTHING,
            host="organization",
            settings=(
                Setting("HF_TOKEN", "a token that may read the repository", private=True),
                Setting("HF_ENDPOINT", "the hub, where it is not huggingface.co", private=False),
            ),
            chooses=True,
            before_run="/",
            store="hub",
        ),
        Scheme(
            name="s3",
            text="a bucket of S3, or of what speaks its protocol",
            example="s3://<bucket>/<path>",
            pattern=r"^s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9]/.+$",
            may_write=True,
            administrator_only=False,
            mounts=Mount.NOTHING,
            host="bucket",
            settings=(
                Setting("AWS_ACCESS_KEY_ID", "the key's name", private=True),
                Setting("AWS_SECRET_ACCESS_KEY", "the key", private=True),
                Setting("AWS_SESSION_TOKEN", "the token of a key that lasts for a while", private=True),
                Setting("AWS_REGION", "the bucket's region (without it, us-east-1)", private=False),
                Setting("AWS_ENDPOINT_URL", "the server, where it is not Amazon's", private=False),
                Setting("AWS_ENDPOINT_URL_S3", "the same, before it: for S3 alone", private=False),
                Setting(
                    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
                    "true: the bucket is a part of the host name",
                    private=False,
                ),
                _CA,
            ),
            chooses=True,
            before_run="/",
            store="bucket",
        ),
        Scheme(
            name="gs",
            text="a bucket of Google Cloud Storage",
            example="gs://<bucket>/<path>",
            pattern=r"^gs://[a-z0-9][-._a-z0-9]{1,220}[a-z0-9]/.+$",
            may_write=True,
            administrator_only=False,
            mounts=Mount.NOTHING,
            host="bucket",
            settings=(
                Setting(
                    "GOOGLE_SERVICE_ACCOUNT_KEY", "the service account's key, the JSON itself", private=True
                ),
                Setting("STORAGE_EMULATOR_HOST", "the server, where it is not Google's", private=False),
                _CA,
            ),
            chooses=True,
            before_run="/",
            store="bucket",
        ),
        Scheme(
            name="az",
            text="a container of Azure Blob Storage",
            example="az://<container>/<path>",
            pattern=r"^az://[a-z0-9][-a-z0-9]{1,61}[a-z0-9]/.+$",
            may_write=True,
            administrator_only=False,
            mounts=Mount.NOTHING,
            host="container",
            settings=(
                Setting("AZURE_STORAGE_ACCOUNT_NAME", "the storage account", private=True),
                Setting("AZURE_STORAGE_ACCOUNT_KEY", "the account's key", private=True),
                Setting(
                    "AZURE_STORAGE_SAS_TOKEN", "a shared access signature, instead of the key", private=True
                ),
                Setting("AZURE_TENANT_ID", "the tenant of a service principal", private=True),
                Setting("AZURE_CLIENT_ID", "the service principal, or the managed identity", private=True),
                Setting("AZURE_CLIENT_SECRET", "the service principal's secret", private=True),
                Setting("AZURE_STORAGE_ENDPOINT", "the server, where it is not Azure's", private=False),
                Setting("AZURE_AUTHORITY_HOST", "who gives tokens, where it is not Azure's", private=False),
                _CA,
            ),
            chooses=True,
            before_run="/",
            store="bucket",
        ),
        Scheme(
            name="oci",
            text="an artifact in a registry",
            example="oci://<registry>/<repository>:<tag>",
            pattern=r"^oci://[a-z0-9][-.a-z0-9]*(:[0-9]+)?(/[a-z0-9]+([-._]+[a-z0-9]+)*)+(:[A-Za-z0-9_][-._A-Za-z0-9]{0,127})?(@sha256:[a-f0-9]{64})?$",
            may_write=True,
            administrator_only=False,
            mounts=Mount.NOTHING,
            host="registry",
            settings=(
                Setting(
                    ".dockerconfigjson", "the registries' credentials, as Docker writes them", private=True
                ),
                Setting("REGISTRY_USERNAME", "the account, instead of them", private=True),
                Setting("REGISTRY_PASSWORD", "its password or token", private=True),
                Setting("REGISTRY_PLAIN_HTTP", "true: the registry has no TLS", private=False),
                _CA,
            ),
            chooses=True,
            before_run=":",
            store="oci",
        ),
        Scheme(
            name="image",
            text="a folder in a container image, which the pod mounts as a volume",
            example="image://<registry>/<image>:<tag>/<path>",
            pattern=r"^image://[a-z0-9][-.a-z0-9]*(:[0-9]+)?(/[a-z0-9]+([-._]+[a-z0-9]+)*)+"
            r"(:[A-Za-z0-9_][-._A-Za-z0-9]{0,127}(@sha256:[a-f0-9]{64})?|@sha256:[a-f0-9]{64})(/.*)?$",
            may_write=False,
            administrator_only=False,
            mounts=Mount.IMAGE,
            host="image with a tag or a digest",
            settings=(),
            chooses=False,
            before_run="/",
            store="local",
            # Its path begins behind the tag or the digest: `registry:5000/team/coder:v1/models`.
            first=r"[^/]+(?:/[^/:@]+)+[:@][^/]+",
        ),
        Scheme(
            name="file",
            text="a path in the image, where the operator allows it",
            example="file:///<path>",
            pattern=r"^file:///.+$",
            may_write=False,
            administrator_only=True,
            mounts=Mount.NOTHING,
            host="",
            settings=(),
            chooses=False,
            before_run="/",
            store="local",
        ),
    )
}


def scheme_of(uri: str) -> Scheme | None:
    """The row of a URI's scheme; None if there is none.

    >>> scheme_of("file:///models/tiny").administrator_only, scheme_of("ftp://x")
    (True, None)
    """
    return SCHEMES.get(uri.partition("://")[0]) if "://" in uri else None


def check(uri: str) -> Place:
    """The place that a URI means; UriError, which says what to write, if it means none.

    >>> check("pvc://models/base/tiny").parts
    ('base', 'tiny')
    """
    row = scheme_of(uri)
    if row is None:
        names = [f"{name}://" for name in SCHEMES]
        known = f"{', '.join(names[:-1])} and {names[-1]}"
        raise UriError(uri, f"has the scheme '{uri.partition('://')[0]}'", f"this version knows {known}")
    return row.check(uri)


def check_base(uri: str) -> Place:
    """The place below which artifacts go; UriError if it means none, or is the place of one artifact."""
    place = check(uri)
    if place.scheme.before_run != "/" and place.parts and re.search("[:@]", place.parts[-1]):
        raise UriError(uri, "names one artifact", "write it without a tag and a digest: each run gets a tag")
    return place


def artifact_uri(base: str, *parts: str) -> str:
    """The URI of a run's artifact below a place, the run last.

    >>> artifact_uri("pvc://models/store/", "demo", "tuned", "1a2b")
    'pvc://models/store/demo/tuned/1a2b'
    >>> artifact_uri("oci://registry:5000/team", "demo", "tuned", "1a2b")
    'oci://registry:5000/team/demo/tuned:1a2b'
    """
    row = scheme_of(base)
    return "/".join([base.rstrip("/"), *parts[:-1]]) + (row.before_run if row else "/") + parts[-1]


def mounted(uri: str, what: Mount) -> str | None:
    """The name of what a pod mounts for a URI, a claim's or an image's reference; None if it mounts no such thing.

    >>> mounted("pvc://models/base/tiny", Mount.CLAIM), mounted("file:///models/tiny", Mount.CLAIM)
    ('models', None)
    >>> mounted("image://registry:5000/team/coder:v1/models", Mount.IMAGE)
    'registry:5000/team/coder:v1'
    """
    row = scheme_of(uri)
    return row.first_part(uri.partition("://")[2]) or None if row is not None and row.mounts is what else None


def examples(*, writable: bool = False) -> str:
    """The schemes for a message, each with its example."""
    rows = [row for row in SCHEMES.values() if row.may_write or not writable]
    return " or ".join(f"`{row.example}` ({row.text})" for row in rows)


def plain_examples(*, writable: bool = False, mounted: bool = True) -> str:
    """The schemes for a command line's help: `s3://<bucket>/<path> or file:///<path>`; `mounted`: a pod's, too."""
    return " or ".join(
        row.example
        for row in SCHEMES.values()
        if (row.may_write or not writable) and (mounted or row.mounts is Mount.NOTHING)
    )


def choice_problem(uri: str) -> str | None:
    """Why no part of this source can be chosen by patterns, and what to do; None if it can.

    >>> choice_problem("hf://org/name")
    >>> choice_problem("pvc://models/base").partition(":")[0]
    'include and exclude choose files of hf, s3, gs, az and oci; pvc'
    """
    row = scheme_of(uri)
    return (
        None
        if row is None or row.chooses
        else f"{_choosers()}; {row.name}:// is read where it is: {_IN_PLACE}"
    )


def choice_rule() -> Rule:
    """The rule for a source in a resource (`self`): patterns only where the scheme's store can read a part."""
    able = " || ".join(f"self.uri.startsWith('{row.name}://')" for row in SCHEMES.values() if row.chooses)
    *others, last = (f"{row.name}://" for row in SCHEMES.values() if not row.chooses)
    return Rule(
        f"(!has(self.include) && !has(self.exclude)) || !has(self.uri) || {able}",
        f"{_choosers()}; {', '.join(others)} and {last} are read where they are: {_IN_PLACE}",
    )


_IN_PLACE = "name the folder or the file in uri, without include and exclude"


def _choosers() -> str:
    names = [row.name for row in SCHEMES.values() if row.chooses]
    return f"include and exclude choose files of {', '.join(names[:-1])} and {names[-1]}"


def pattern() -> str:
    """A regular expression for every scheme's beginning: `^(pvc|file)://.+$`."""
    return f"^({'|'.join(re.escape(name) for name in SCHEMES)})://.+$"


def rule() -> Rule:
    """The rule for a URI in a resource (`self`), made from the rows' patterns."""
    any_of = " || ".join(f"self.matches('{row.pattern}')" for row in SCHEMES.values())
    return Rule(
        f"({any_of}) && !self.contains('/../') && !self.endsWith('/..')",
        f"must be {examples()}, without `..`",
    )
