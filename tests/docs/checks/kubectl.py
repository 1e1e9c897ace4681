"""`kubectl ...`: verbs, flags, kinds, names of the demo, paths into our kinds, conditions, files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from speechless_operator.plan.conditions import RUN, SERVICE
from tests.docs.checks.schemas import LOADER, at, definitions, names, part_problem, schema_of
from tests.docs.checks.yaml_blocks import problem as yaml_problem
from tests.docs.rows import DEMO
from tests.docs.shell import Command
from tests.unit.layout.repository import ROOT


def words(text: str) -> frozenset[str]:
    """A list of words as one text."""
    return frozenset(text.split())


KUBERNETES = words(
    """
    all clusterrole clusterrolebinding cm configmap crd crds customresourcedefinition customresourcedefinitions
    deploy deployment deployments ds event events ev ing ingress job jobs lease leases limits limitrange namespace
    namespaces networkpolicy netpol no node nodes ns pdb persistentvolume persistentvolumeclaim
    persistentvolumeclaims pv pvc po pod pods priorityclass priorityclasses pc quota resourcequota role rolebinding
    rs replicaset runtimeclass runtimeclasses sa sc secret secrets service serviceaccount services storageclass
    storageclasses svc validatingadmissionpolicy validatingadmissionpolicies
    """
)
OTHERS = words(
    """
    application applications localqueue localqueues clusterqueue workload workloads servicemonitor servicemonitors
    prometheusrule kustomization gitrepository helmrelease prometheus
    """
)
"""Kinds of other operators that pages speak of: Argo CD, Flux, Kueue, Prometheus."""

RESOURCE_VERBS = words("get describe delete edit patch annotate label scale wait expose autoscale")
OTHER_VERBS = words(
    """
    apply create replace diff explain logs port-forward exec attach cp run rollout set top auth api-resources
    api-versions cluster-info config version events cordon drain uncordon taint debug kustomize proxy
    """
)
WITH_VALUE = words(
    """
    -n --namespace -o --output --context --kubeconfig -l --selector -f --filename -k --kustomize --for --timeout -p
    --patch --patch-file --type --field-selector --sort-by -c --container --tail --since --replicas --image
    --from-literal --from-file --api-version --subresource --cluster --user --as --as-group --request-timeout
    --address --restart --docker-server --docker-username --docker-password --docker-email --grace-period
    --field-manager --duration --overrides --resource-version --raw -v --server -s --token --chunk-size --validate
    --dry-run --types --cert --key --limits --requests
    """
)
WITHOUT_VALUE = words(
    """
    -A --all-namespaces --all -w --watch --watch-only --server-side --force --force-conflicts --ignore-not-found
    --wait --recursive -R --show-labels --no-headers --show-managed-fields -i -t -it -ti --stdin --tty --rm
    --overwrite --now --follow --previous --timestamps --prefix --all-containers --cascade --prune --list --minify
    --current --flatten --quiet -q --local --save-config --help -h --client --attach
    """
)
CONDITIONS_OF_KUBERNETES = words("Available Complete Ready Established Initialized PodScheduled")


@dataclass
class Parsed:
    """A kubectl command, taken apart."""

    verb: str = ""
    words: list[str] = field(default_factory=list)
    """What is neither verb nor flag."""
    flags: dict[str, list[str]] = field(default_factory=dict)
    unknown: str = ""

    def flag(self, *named: str) -> list[str]:
        """The values of a flag by any of its names."""
        return [value for name in named for value in self.flags.get(name, [])]

    @property
    def namespace(self) -> str:
        """What -n says."""
        return next(iter(self.flag("-n", "--namespace")), "")


def parse(words: tuple[str, ...]) -> Parsed:
    """The verb, the words and the flags of a command (without `kubectl`)."""
    parsed = Parsed()
    left = iter(words)
    for word in left:
        if word == "--":
            break  # a command in a pod
        if not word.startswith("-") or word == "-":
            if parsed.verb:
                parsed.words.append(word)
            else:
                parsed.verb = word
            continue
        name, equals, value = word.partition("=")
        if name in WITH_VALUE:
            value = value if equals else next(left, "")
        elif name not in WITHOUT_VALUE and not (
            re.match(r"-[nolfcpk]\S", word) and not word.startswith("--")
        ):
            parsed.unknown = parsed.unknown or name
        parsed.flags.setdefault(name, []).append(value)
    return parsed


def problem(command: Command) -> str:
    """What is wrong with a kubectl command."""
    parsed = parse(command.words[1:])
    return next((found for check in CHECKS if (found := check(parsed, command))), "")


def kinds_of(parsed: Parsed) -> list[tuple[str, str]]:
    """The kinds that a command is about, each with a name or "". `a,b` are several kinds, `kind name` one of it."""
    words = [word for word in parsed.words if "=" not in word and not word.endswith("-")]
    if parsed.verb == "rollout":
        words = words[1:]
    if parsed.verb in ("logs", "port-forward", "exec", "attach"):
        words = [word for word in words[:1] if "/" in word]
    elif parsed.verb not in RESOURCE_VERBS and parsed.verb != "rollout":
        return []
    if words and "/" not in words[0]:
        kinds = words[0].split(",")
        return [(kind, name) for kind in kinds for name in (words[1:] or [""])]
    return [(kind, name) for word in words for kind, _, name in [word.partition("/")]]


def our_kinds(parsed: Parsed) -> set[str]:
    """Those of our kinds that a command is about."""
    return {names()[kind.lower()] for kind, _ in kinds_of(parsed) if kind.lower() in names()}


def _verb(parsed: Parsed, command: Command) -> str:
    if parsed.unknown:
        return f"flag {parsed.unknown} is in no list of tests/docs/checks/kubectl.py; add it there if kubectl has it"
    if parsed.verb in RESOURCE_VERBS | OTHER_VERBS or not parsed.verb:
        return ""
    return f"`kubectl {parsed.verb}` is in no list of tests/docs/checks/kubectl.py; add it there if kubectl has it"


def _kinds(parsed: Parsed, command: Command) -> str:
    categories = {word for each in definitions() for word in each["spec"]["names"]["categories"]}
    known = KUBERNETES | OTHERS | set(names()) | categories
    for kind, _ in kinds_of(parsed):
        if kind.lower() not in known and not kind.startswith(("<", "$", "...")):
            return f"there is no kind {kind!r} in crds/ or in the lists of tests/docs/checks/kubectl.py"
    return ""


def _names(parsed: Parsed, command: Command) -> str:
    """Names in the demo's namespace and of definitions are those that exist."""
    definition_names = {each["metadata"]["name"] for each in definitions()}
    for kind, name in kinds_of(parsed):
        if not name or name.startswith(("<", "$")):
            continue
        if kind in ("crd", "customresourcedefinition") and name not in definition_names:
            return f"crds/ has no {name}"
        if parsed.namespace == DEMO and (ours := names().get(kind.lower())) and name not in demo()[ours]:
            return f"examples/demo has no {ours} {name!r}, only {', '.join(sorted(demo()[ours]))}"
    return ""


def _paths(parsed: Parsed, command: Command) -> str:
    """A path into one of our kinds exists in its schema."""
    texts = [
        value
        for value in parsed.flag("-o", "--output", "--sort-by", "--for")
        if "path" in value or "{" in value
    ]
    columns = [value for value in parsed.flag("-o", "--output") if value.startswith("custom-columns")]
    paths = [path for text in texts for path in json_paths(text)]
    paths += [pair.partition(":")[2] for text in columns for pair in text.partition("=")[2].split(",")]
    for kind in our_kinds(parsed):
        for path in paths:
            if at(schema_of(kind), steps(path)) is None:
                return f"{kind} has no {path}"
    return ""


def _explained(parsed: Parsed, command: Command) -> str:
    if parsed.verb != "explain" or not parsed.words:
        return ""
    word = parsed.words[0]
    kind = max((name for name in names() if f"{word.lower()}.".startswith(f"{name}.")), key=len, default="")
    if not kind:
        return "" if word.partition(".")[0].lower() in KUBERNETES else f"there is no kind in {word!r}"
    path = [step for step in word[len(kind) :].split(".") if step]
    here: dict[str, Any] | None = schema_of(names()[kind])
    for step in path:
        if here is not None:
            here = at(here.get("items", here), [step])  # explain names no items
    return "" if here is not None else f"{names()[kind]} has no {'.'.join(path)}"


def _conditions(parsed: Parsed, command: Command) -> str:
    ours = conditions()
    for value in parsed.flag("--for"):
        if value.startswith("condition="):
            name = value.removeprefix("condition=").partition("=")[0]
            known = ours if our_kinds(parsed) else ours | CONDITIONS_OF_KUBERNETES
            if name not in known:
                return (
                    f"--for={value}: the operator sets no condition {name!r}, only {', '.join(sorted(ours))}"
                )
    return ""


def _patches(parsed: Parsed, command: Command) -> str:
    """A merge patch of one of our kinds is a part of it."""
    if "json" in parsed.flag("--type"):
        return ""
    for text in parsed.flag("-p", "--patch"):
        try:
            patch = yaml.load(text, LOADER)
        except yaml.YAMLError as error:
            return f"-p is no JSON and no YAML: {error}"
        for kind in our_kinds(parsed):
            if found := part_problem(patch, kind):
                return f"-p {json.dumps(patch)}: {found}"
    return ""


def _stdin(parsed: Parsed, command: Command) -> str:
    return yaml_problem(command.stdin) if command.stdin and "-" in parsed.flag("-f", "--filename") else ""


CHECKS = (_verb, _kinds, _names, _paths, _explained, _conditions, _patches, _stdin)


def json_paths(text: str) -> Iterator[str]:
    """The paths in `jsonpath='{.a.b}{"x"}'`, or of a flag that takes one; a filter is written as `[*]`."""
    plain = re.sub(r"\[\?\(.*?\)\]", "[*]", text).replace(".items[*]", "")
    for inside in re.findall(r"\{([^{}]*)\}", plain) or ([plain] if plain.startswith(".") else []):
        yield from re.findall(r"(?:^|(?<=[\s$]))(\.[\w.\[\]*\\/-]+)", inside)


def steps(path: str) -> list[str | int]:
    """`.a[*].d[0]` as steps; an index and a star are one item."""
    plain = re.sub(r"\[(?:\d+|\*)\]", ".*", path).replace("\\.", "\0")
    return [step.replace("\0", ".") for step in plain.strip(".").split(".") if step]


@cache
def demo() -> dict[str, set[str]]:
    """The names of the demo's resources by kind."""
    found: dict[str, set[str]] = {each["spec"]["names"]["kind"]: set() for each in definitions()}
    for file in (ROOT / "examples" / "demo").glob("*.yaml"):
        for document in yaml.load_all(file.read_text(), LOADER):
            if document and document["kind"] in found:
                found[document["kind"]].add(document["metadata"]["name"])
    return found


@cache
def conditions() -> frozenset[str]:
    """The types of the conditions that the operator sets."""
    summaries = (RUN, SERVICE)
    aspects = {word for each in summaries for word in (each.goal, *each.order)}
    return frozenset({"Ready", "Reconciling", "Stalled", "Passed"} | aspects)
