"""A revision of an InferenceService: what decides it, its children, and how they stay as they were made.

A revision's pod template is fixed when the revision is made. It is kept twice, on the Deployment and in the ConfigMap,
so that each can be made again from the other: an upgrade of the operator, an upstream that is gone or a spec that has
moved on change nothing of what serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from speechless.contract import ServeSpec, decisive
from speechless.contract.engines import ENGINES, Engine
from speechless.contract.needs import serving_problem
from speechless_operator.api.inferenceservice import InferenceServiceSpec
from speechless_operator.desired import configmap, deployment, service, stage
from speechless_operator.desired.children import (
    BUILT_ANNOTATION,
    CHILDREN,
    RUN_ANNOTATION,
    STAGE_ANNOTATION,
    Drift,
)
from speechless_operator.desired.inputs import Input, Run, read_inputs
from speechless_operator.desired.objects import LABEL_REVISION, Object, Owner, digest_of, short_hash
from speechless_operator.desired.pod import SPEC_FILE
from speechless_operator.desired.settings import Settings
from speechless_operator.plan import resolve
from speechless_operator.plan.drift import covers
from speechless_operator.plan.observed import Observed
from speechless_operator.plan.run import DIGITS


@dataclass(frozen=True)
class Revision:
    """One revision, with all that its children are made from."""

    name: str
    run: Run
    built: Object
    """Its Deployment's spec, but for the number of pods."""
    stage: str
    """What its pods are told."""
    port: int

    def children(self, owner: Owner, replicas: int) -> tuple[Object, Object, Object]:
        """ConfigMap, Deployment and the revision's own Service."""
        name = owner.child_name(self.name)
        return (
            configmap.config_map(
                owner,
                name,
                self.stage,
                labels={LABEL_REVISION: self.name},
                more={deployment.BUILT_FILE: deployment.to_text(self.built)},
            ),
            deployment.deployment(
                owner, name, self.name, self.built, run=self.run, stage=self.stage, replicas=replicas
            ),
            service.of_revision(owner, name, self.name, self.port),
        )


def wanted(observed: Observed, spec: InferenceServiceSpec, model: Input) -> Revision:
    """The revision that a spec asks for.

    Raises:
        resolve.Blocked: The spec, or what it names, cannot be served.
    """
    settings, owner = observed.settings, observed.owner
    engine = _engine(spec)
    resolve.need_format(model, engine.formats, f"engine {engine.name} serves {' or '.join(engine.formats)}")
    resolve.need_model(model, partial(serving_problem, engine))
    image = spec.pod.image or settings.images.get(engine.image)
    if not image:
        raise resolve.invalid(
            f"spec.pod.image: the operator has no image for this engine (--image-{engine.image}): set one here"
        )
    run = Run((model,))
    told = _stage(spec, run, owner, engine, "")
    content: Object = {
        "stage": decisive(told),
        "pod": spec.pod.model_dump(mode="json", exclude_defaults=True),
    }
    if spec.upgrade_policy == "Automatic":
        content["template"] = digest_of(_built(spec, run, owner, engine, image, settings, ""))
    name = digest_of(content)[:DIGITS]
    name = _same_as_before(observed, spec, model) or name
    built = _built(spec, run, owner, engine, image, settings, name)
    told = _stage(spec, run, owner, engine, name)
    return Revision(name, run, built, told.to_json(indent=2), engine.port)


def _engine(spec: InferenceServiceSpec) -> Engine:
    engine = ENGINES.get(spec.engine)
    if engine is None or not engine.offered:
        raise resolve.invalid(f"spec.engine: {spec.engine} is not offered by this operator")
    return engine


def _built(
    spec: InferenceServiceSpec,
    run: Run,
    owner: Owner,
    engine: Engine,
    image: str,
    settings: Settings,
    name: str,
) -> Object:
    return deployment.spec_of(
        owner,
        owner.child_name(name),
        name,
        image=image,
        spec=spec,
        run=run,
        engine=engine,
        defaults=settings.pods,
    )


def _stage(spec: InferenceServiceSpec, run: Run, owner: Owner, engine: Engine, name: str) -> ServeSpec:
    try:
        return stage.serve(spec, run, stage.identity(owner, name), engine.port)
    except ValidationError as error:
        raise resolve.invalid_model(error) from error


def _same_as_before(observed: Observed, spec: InferenceServiceSpec, model: Input) -> str | None:
    """The name that the first version gave to the same content: its revisions are not made again by an upgrade.

    It hashed the uid and the image, too; the image is that of the Deployment that is there.
    """
    decided = spec.model_dump(
        mode="json", exclude_defaults=True, exclude={"replicas", "gate", "model", "upgrade_policy"}
    )
    for found in observed.of("Deployment"):
        if BUILT_ANNOTATION in (found["metadata"].get("annotations") or {}):
            continue
        image = deployment.image_of(found)
        if spec.pod.image not in (None, image):
            continue
        name = short_hash(observed.owner.uid, model.uri, model.digest, image, decided)
        if name == deployment.revision_of(found) and spec.upgrade_policy == "Manual":
            return name
    return None


def kept(observed: Observed, revision: str, port: int) -> Revision | None:
    """A revision as it was made, from its Deployment or from its ConfigMap; None where neither has it."""
    name = observed.owner.child_name(revision)
    found = observed.named("Deployment", name)
    if found is not None:
        annotations = found["metadata"].get("annotations") or {}
        return _made_again(
            revision,
            annotations.get(RUN_ANNOTATION),
            annotations.get(BUILT_ANNOTATION),
            annotations.get(STAGE_ANNOTATION),
            port,
        )
    live = observed.live.config_maps.get(name) if observed.live else None
    data = (live or {}).get("data") or {}
    run = Run(tuple(e for e in read_inputs(observed.status.get("inputs")) if e.name == "model"))
    return _made_again(revision, run.to_json(), data.get(deployment.BUILT_FILE), data.get(SPEC_FILE), port)


def _made_again(revision: str, run: object, built: object, told: object, port: int) -> Revision | None:
    found = Run.from_json(run if isinstance(run, str) else None)
    spec = deployment.built_of(built)
    if found is None or spec is None or not isinstance(told, str):
        return None
    ports = [
        p
        for c in spec["template"]["spec"].get("containers", [])
        for p in c.get("ports", [])
        if p.get("name") == "http"
    ]
    return Revision(revision, found, spec, told, ports[0]["containerPort"] if ports else port)


def changed(observed: Observed, children: tuple[Object, ...]) -> tuple[Object, ...]:
    """The children that are missing or were changed by another hand."""
    return tuple(child for child in children if _differs(observed, child))


def _differs(observed: Observed, wanted: Object) -> bool:
    """Whether to apply. What is made once and exists stays as it is."""
    found = observed.named(wanted["kind"], wanted["metadata"]["name"])
    if found is None:
        return True
    if CHILDREN[wanted["kind"]].drift is not Drift.CONVERGE:
        return False
    labels = found["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in wanted["metadata"]["labels"].items()):
        return True
    annotations = found["metadata"].get("annotations") or {}
    if any(annotations.get(key) != value for key, value in wanted["metadata"].get("annotations", {}).items()):
        return True
    return not covers(found["spec"], wanted["spec"])
