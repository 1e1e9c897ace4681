"""Each check is shown what is wrong and what is right."""

import shlex

import pytest

from tests.docs.checks import by_program, python_blocks, yaml_blocks
from tests.docs.pages import Block
from tests.docs.shell import commands

FINE_TUNE = """\
apiVersion: speechless.dev/v1alpha1
kind: FineTune
metadata: {name: x}
spec:
  model: {uri: pvc://models/base}
  dataset: {uri: pvc://data/rows.jsonl}
"""


def said(text: str, prose: bool = False) -> str:
    """What is wrong with a command."""
    (command,) = commands(Block("p.md", 1, "console", text))
    return by_program.problem_in_prose(command) if prose else by_program.problem(command)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("make cluster-upp", "no target 'cluster-upp'"),
        ("make cluster-up NODS=0", "no variable NODS"),
        ("pip install '.[trian]'", "no extra 'trian'"),
        ("pip install -c requirements/constraint.txt .", "no requirements/constraint.txt"),
        ("hack/setpu.sh library", "no hack/setpu.sh"),
        (".venv/bin/pytest tests/unit/clii -k x", "no tests/unit/clii"),
        ("speechless finetune runn --task_name x", "invalid choice: 'runn'"),
        ("python -m speechless.tiny make --ouf x", "speechless tiny has no flag --ouf"),
        ("speechless quant llamacpp --nonsense", "speechless quant"),
        ("python -m speechless.eval.humaneval --modle m", "speechless eval humaneval has no flag --modle"),
        ("speechless eval humaneval --modle m", "speechless eval humaneval has no flag --modle"),
        ("speechless api start --model m --prot 1", "has no flag --prot"),
        ("python -m speechless.nothing run", "in no table"),
        ("speechless-operator run --workers many", "not a whole number"),
        ("PYTHONPATH=hack python3 -m cluster upp x", "invalid choice: 'upp'"),
        ("python3 hack/images.py --prnt docker", "hack/images.py has no flag --prnt"),
        ("helm instal speechless charts/speechless", "`helm instal`"),
        ("helm install x charts/speechles", "no charts/speechles"),
        (
            "helm install x charts/speechless --set image.registri=a",
            "image.registri: charts/speechless has no such value",
        ),
        ("helm install x charts/speechless --set image.tag=a,replicas=many", "replicas=many"),
        ("helm install x charts/speechless --set image.tag=1", "1 is not of type 'string'"),
        ("helm install x charts/speechless --set 'watchNamespaces[0].x=a'", "no such value"),
        ("kubectl gett ft", "`kubectl gett`"),
        ("kubectl get ft --whatever", "flag --whatever"),
        ("kubectl get fts", "no kind 'fts'"),
        ("kubectl describe finetunes/x evalution/y", "no kind 'evalution'"),
        ("kubectl -n speechless-demo get ft tunde", "examples/demo has no FineTune 'tunde'"),
        ("kubectl delete crd finetune.speechless.dev", "crds/ has no finetune.speechless.dev"),
        ("kubectl get ft x -o jsonpath='{.status.artefact}'", "FineTune has no .status.artefact"),
        (
            "kubectl get slis x -o jsonpath='{.status.conditions[?(@.type==\"A\")].massage}'",
            "InferenceService has no",
        ),
        ("kubectl get ft -o custom-columns=A:.status.phase,B:.status.fase", "FineTune has no .status.fase"),
        ("kubectl wait ft/x --for=condition=Done", "no condition 'Done'"),
        ("kubectl wait ft/x --for=jsonpath='{.status.fase}'=Ready", "FineTune has no .status.fase"),
        ("kubectl logs deployed/x --tail=5", "no kind 'deployed'"),
        ("kubectl rollout status deploymnt/x", "no kind 'deploymnt'"),
        ("kubectl explain finetune.spec.pod.img", "FineTune has no spec.pod.img"),
        ("kubectl explain finetunee.spec", "no kind"),
        ('kubectl patch ft x --type merge -p \'{"spec": {"supsend": true}}\'', "supsend"),
        ("kubectl apply -f examples/dmo", "no examples/dmo"),
        ("kubectl apply -f - <<EOF\n" + FINE_TUNE.replace("uri: pvc", "url: pvc") + "EOF", "url"),
    ],
)
def test_what_is_wrong_is_told(text: str, expected: str) -> None:
    assert expected in said(text)


@pytest.mark.parametrize(
    "text",
    [
        "make -n cluster-up NODES=0",
        "make <target> NAME=x",
        "pip install -c requirements/constraints.txt 'speechless-llm[train,eval]'",
        "speechless finetune run --task_name <name>",
        "python -m speechless.eval.humaneval --model model.gguf --data problems.jsonl",
        "speechless-operator run --help",
        "docker push localhost/speechless/$image:1",
        "helm install x oci://registry.example/other --set a=b",
        "helm upgrade --install x charts/speechless --set image.tag=$TAG,replicas=2 --set 'watchNamespaces={a,b}'",
        "helm upgrade x charts/speechless --set-json 'ceilings={\"serviceAccounts\":[]}' --set uid=null",
        "helm install x charts/speechless --set-string 'stagePods.annotations.sidecar\\.istio\\.io/inject=false'",
        "kubectl -n speechless-demo get slev tuned base",
        "kubectl get speechless -A -o json",
        "kubectl get crd finetunes.speechless.dev",
        "kubectl -n speechless-demo exec pod/x -- ls --whatever",
        "kubectl cp ./my-model loader:/models/my-model",
        "kubectl -n x port-forward service/coder 8000:80",
        "kubectl get pods -l speechless.dev/name=x --sort-by=.metadata.creationTimestamp",
        "kubectl get ft -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'",
        "kubectl annotate slis coder speechless.dev/gate-override=why",
        "kubectl explain inferenceservices.speechless.dev.spec.gate.evaluations.name",
        "kubectl apply -f - <<EOF\n" + FINE_TUNE + "EOF",
    ],
)
def test_what_is_right_is_not(text: str) -> None:
    assert said(text) == ""


@pytest.mark.parametrize(
    "text", ["python -m speechless.tiny make", "speechless COMMAND ...", "speechless tiny"]
)
def test_a_sentence_may_leave_out_what_a_command_needs(text: str) -> None:
    assert said(text, prose=True) == ""


def test_a_block_may_not() -> None:
    assert "required: --out" in said("python -m speechless.tiny make")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FINE_TUNE, ""),
        (FINE_TUNE.replace("uri: pvc://models/base", "uri: s3://x"), "spec.model.uri"),
        (FINE_TUNE.replace("FineTune", "FineTuning"), "is none of"),
        (FINE_TUNE.replace("  dataset", "  dataste"), "dataste"),
        ("spec: {gate: {policy: Enforce}}", ""),
        ("spec: {gate: {polizy: Enforce}}", "polizy"),
        ("replicas: 1\nstagePods: {uid: null}", ""),
        ("replikas: 1", "values of charts/speechless"),
        ("apiVersion: v1\nkind: Pod", ""),
        ("apiVersion: v1", "no kind"),
        ("nameSuffix: -v2\nresources: [a.yaml]", ""),
        ("a: [", "no YAML"),
        ("- a", "a mapping was expected"),
    ],
)
def test_yaml_is_of_a_schema(text: str, expected: str) -> None:
    found = yaml_blocks.problem(text)
    assert expected in found if expected else found == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from speechless.arguments import Parser\nimport torch, openai", ""),
        ("from speechless.finetune import tasks", ""),
        ("from speechless.arguments import Parsr", "speechless.arguments has no Parsr"),
        ("import speechless.nothing", "no module speechless.nothing"),
        ("import surely_not_locked", "in no lock"),
        ("def f(:", "line 1"),
    ],
)
def test_python_compiles_and_its_imports_exist(text: str, expected: str) -> None:
    found = python_blocks.problem(text)
    assert expected in found if expected else found == ""


def test_a_program_is_known_with_a_path_before_it() -> None:
    assert by_program.check_of(".venv/bin/python") is by_program.check_of("python3")
    assert by_program.check_of("bin/kubectl") is by_program.check_of("kubectl")
    assert by_program.check_of(shlex.split("docker push")[0]) is None
