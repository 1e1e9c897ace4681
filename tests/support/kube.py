"""A thin test client for the Kubernetes API: plain dicts in and out, every error with the API's own message.

It hides nothing that a test of faults wants to see: no retries, no caches but discovery's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.access import Access
from tests.support.discovery import ACCEPT, Discovery, Resource
from tests.support.rest import ApiError, Object, Rest, WatchError

APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

__all__ = ["ApiError", "Kube", "Object", "WatchError"]


class Kube(Rest):
    """A client of one API server as one user."""

    def __init__(self, access: Access, *, manager: str = "speechless-tests", timeout: float = 30) -> None:
        super().__init__(access, timeout=timeout)
        self.manager = manager
        self.discovery = Discovery(lambda path: self.request("GET", path, accept=ACCEPT))

    def resource(self, kind: str, api_version: str | None = None) -> Resource:
        """The resource of a kind; see `Discovery.find`."""
        return self.discovery.find(kind, api_version)

    def _path_of(self, obj: Object, *, named: bool, subresource: str | None = None) -> str:
        resource = self.resource(obj["kind"], obj["apiVersion"])
        meta = obj["metadata"]
        return resource.path(meta.get("namespace"), meta["name"] if named else None, subresource)

    # -- reading --------------------------------------------------------------------------------------

    def get(self, kind: str, name: str, namespace: str | None = None) -> Object:
        """Read one object."""
        found: Object = self.request("GET", self.resource(kind).path(namespace, name))
        return found

    def find(self, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Read one object; `None` when it does not exist."""
        try:
            return self.get(kind, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    def list(
        self, kind: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> list[Object]:
        """Read a collection (of all namespaces if none is given); items carry `kind` and `apiVersion`."""
        resource = self.resource(kind)
        query = {"labelSelector": labels or None, "fieldSelector": fields or None}
        answer = self.request("GET", resource.path(namespace), query)
        return [
            {"apiVersion": resource.api_version, "kind": resource.kind} | item for item in answer["items"]
        ]

    def watch(
        self,
        kind: str,
        namespace: str | None = None,
        *,
        name: str | None = None,
        version: str | None = None,
        labels: str = "",
        seconds: int = 30,
    ) -> Iterator[Object]:
        """Yield watch events (`type`, `object`) until the server ends the watch after `seconds`.

        Raises:
            WatchError: The server sent an ERROR event.
            ApiError: The watch was refused.
            urllib3.exceptions.ProtocolError: The connection was cut.
        """
        path = self.resource(kind).path(namespace)
        query = {
            "watch": True,
            "resourceVersion": version,
            "timeoutSeconds": seconds,
            "labelSelector": labels or None,
            "fieldSelector": f"metadata.name={name}" if name else None,
        }
        for line in self.lines(path, query, seconds=seconds + 5):
            event = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise WatchError(status.get("code", 0), status, f"WATCH {path}")
            yield event

    def logs(
        self,
        pod: str,
        namespace: str,
        *,
        container: str | None = None,
        previous: bool = False,
        tail: int | None = None,
    ) -> str:
        """The log of one container; `previous` is the one before its last restart."""
        query = {"container": container, "previous": previous or None, "tailLines": tail}
        return self.text(self.resource("Pod").path(namespace, pod, "log"), query)

    # -- writing: strict, so that an unknown field is an error and not a warning nobody reads ------------

    def create(self, obj: Object, *, dry_run: bool = False, strict: bool = True) -> Object:
        """Create an object (its `generateName` is honoured)."""
        created: Object = self.request(
            "POST", self._path_of(obj, named=False), self._write(dry_run, strict), body=obj
        )
        return created

    def replace(
        self, obj: Object, *, dry_run: bool = False, strict: bool = True, subresource: str = ""
    ) -> Object:
        """Replace an object; with its `resourceVersion`, only if nobody wrote in between."""
        path = self._path_of(obj, named=True, subresource=subresource)
        replaced: Object = self.request("PUT", path, self._write(dry_run, strict), body=obj)
        return replaced

    def apply(
        self,
        obj: Object,
        *,
        manager: str | None = None,
        force: bool = False,
        dry_run: bool = False,
        strict: bool = True,
        subresource: str = "",
    ) -> Object:
        """Apply server-side as `manager`."""
        query = self._write(dry_run, strict) | {
            "fieldManager": manager or self.manager,
            "force": force or None,
        }
        path = self._path_of(obj, named=True, subresource=subresource)
        applied: Object = self.request("PATCH", path, query, body=obj, content_type=APPLY)
        return applied

    def apply_status(self, obj: Object, *, manager: str | None = None, force: bool = False) -> Object:
        """Apply the status subresource server-side as `manager`."""
        return self.apply(obj, manager=manager, force=force, subresource="status")

    def patch(
        self,
        kind: str,
        name: str,
        patch: Object | Sequence[Object],
        namespace: str | None = None,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Patch an object: a dict is a JSON merge patch, a list a JSON patch."""
        path = self.resource(kind).path(namespace, name, subresource)
        content_type = MERGE_PATCH if isinstance(patch, dict) else JSON_PATCH
        query = self._write(dry_run, strict=True)
        patched: Object = self.request("PATCH", path, query, body=patch, content_type=content_type)
        return patched

    def delete(
        self,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        propagation: str = "Background",
        grace: int | None = None,
        uid: str | None = None,
        missing_ok: bool = False,
    ) -> None:
        """Delete an object; `uid` is a precondition."""
        body = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "propagationPolicy": propagation,
            **({} if grace is None else {"gracePeriodSeconds": grace}),
            **({} if uid is None else {"preconditions": {"uid": uid}}),
        }
        try:
            self.request("DELETE", self.resource(kind).path(namespace, name), body=body)
        except ApiError as error:
            if not (missing_ok and error.code == 404):
                raise

    def token(self, service_account: str, namespace: str) -> str:
        """A fresh token of a service account, as a pod would carry."""
        path = self.resource("ServiceAccount").path(namespace, service_account, "token")
        body = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        return str(self.request("POST", path, body=body)["status"]["token"])

    def _write(self, dry_run: bool, strict: bool) -> dict[str, Any]:
        return {
            "fieldManager": self.manager,
            "fieldValidation": "Strict" if strict else "Ignore",
            "dryRun": "All" if dry_run else None,
        }
