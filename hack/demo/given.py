"""The demo with a model and data of one's own: they take the place of what the Job `inputs` makes."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from demo.tools import NAMESPACE, DemoError, Object, Tools
from speechless.contract import storage
from speechless.errors import StageError
from speechless.store.words import uri_of

STORAGE = "20Gi"
"""Of the claim, where nothing else is asked for: artifacts of a model of a billion parameters or so."""
HYPERPARAMETERS = {"numTrainEpochs": 1}
"""Those of the demo suit its tiny model; a real one has the defaults."""
MAX_TOKENS = 512
"""Of an answer to a problem that is not the demo's own."""
GOAL = 0.0
"""pass@1 that opens the gate: nobody knows what a model of somebody else reaches. To be raised in a copy."""
INPUTS = "pvc://speechless-artifacts/inputs/"
"""Where the Job `inputs` writes."""
KEYS = "{{range $key, $_ := .data}}{{$key}}\n{{end}}"


@dataclass(frozen=True)
class Given:
    """What `make demo` was told, as words: URIs, or a hub's `org/name[@revision]`."""

    model: str
    dataset: str
    problems: str | None = None
    """None: the demo's own."""
    text: str | None = None
    secret: str | None = None
    """A Secret of the demo's namespace, for the URIs whose scheme knows one of its keys."""
    storage: str = STORAGE
    config: str | None = None
    split: str | None = None
    """Which part of the dataset, where it has several."""

    def changed(self, objects: list[Object], keys: frozenset[str] | None = None) -> list[Object]:
        """The demo's objects with these sources; `keys`: those that the Secret has, None: it was not looked at.

        DemoError for a word that pods cannot follow, and for a Secret that no source takes.
        """
        found, known = copy.deepcopy(objects), keys or frozenset()
        sources = [self._source(self.model, known, dataset=False), self._source(self.dataset, known)]
        sources += [self._source(word, known) for word in (self.problems, self.text) if word]
        if keys is not None and not any("secretRef" in source for source in sources):
            uris = ", ".join(source["uri"] for source in sources)
            raise DemoError(f"the Secret {self.secret} has no key that {uris} take (docs/howto/storage.md)")
        for each in found:
            self._change(each, known)
        if not any(uri.startswith(INPUTS) for each in found for uri in _uris(each.get("spec"))):
            found = [each for each in found if (each["kind"], each["metadata"]["name"]) != ("Job", "inputs")]
        return found

    def keys(self, kube: Tools) -> frozenset[str]:
        """The names of the Secret's keys; DemoError, which says how to make it, where there is none."""
        if self.secret is None:
            return frozenset()
        look = ("kubectl", "-n", NAMESPACE, "get", "secret", self.secret, "-o", f"go-template={KEYS}")
        try:
            return frozenset(kube.run(*look).split())
        except DemoError as problem:
            name = shlex.quote(self.secret)
            raise DemoError(
                f"{problem}\nMake the Secret first (its keys: docs/howto/storage.md):\n"
                f"  kubectl create namespace {NAMESPACE}\n"
                f"  kubectl -n {NAMESPACE} create secret generic {name} --from-literal=KEY=..."
            ) from None

    def _change(self, each: Object, keys: frozenset[str]) -> None:
        kind, spec = each["kind"], each.get("spec", {})
        own = self._source(self.model, keys, dataset=False)
        if kind == "PersistentVolumeClaim":
            spec["resources"]["requests"]["storage"] = self.storage
        if kind == "FineTune":
            told = {"config": self.config, "split": self.split}
            part = {name: value for name, value in told.items() if value}
            spec |= {"model": own, "dataset": self._source(self.dataset, keys) | part}
            spec["hyperparameters"] = HYPERPARAMETERS
        if kind == "Evaluation":
            spec["model"] = own if "uri" in spec["model"] else spec["model"]
            for gate in spec.get("gates", []):
                gate["min"] = GOAL
            for suite in spec["suites"]:
                if self.problems:
                    suite |= {"data": self._source(self.problems, keys), "maxTokens": MAX_TOKENS}
        if kind == "Quantization" and self.text:
            spec["verify"]["text"] = self._source(self.text, keys)
        if "pod" in spec:  # the limits suit the tiny model
            spec["pod"]["resources"].pop("limits", None)

    def _source(self, word: str, keys: frozenset[str], *, dataset: bool = True) -> Object:
        try:
            uri = uri_of(word, dataset=dataset)
            scheme = storage.check(uri).scheme
        except (StageError, storage.UriError) as problem:
            raise DemoError(str(problem)) from None
        if scheme.administrator_only:
            raise DemoError(
                f"{word} is a path of this machine, and no pod sees it: put it where pods can read it, by "
                f"`speechless store publish` ({storage.plain_examples(writable=True)}), and name that"
            )
        known = keys.intersection(setting.name for setting in scheme.settings)
        return {"uri": uri} | ({"secretRef": {"name": self.secret}} if known else {})


def _uris(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("uri"), str):
            yield value["uri"]
        for inner in value.values():
            yield from _uris(inner)
    if isinstance(value, list):
        for inner in value:
            yield from _uris(inner)
