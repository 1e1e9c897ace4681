"""A FineTune manifest on one machine: the same settings as flags, and every field has a meaning or is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from speechless.finetune import manifest
from speechless.finetune.__main__ import main
from speechless.finetune.finetune import identity_of
from speechless.finetune.flags import parse
from speechless.finetune.manifest import CLUSTER_ONLY, REFERENCES, Wrong, claims_of, flags_of, read
from speechless_operator.api.common import ModelSource
from speechless_operator.api.finetune import FineTuneSpec
from tests.unit.layout.repository import ROOT

SPEC: dict[str, Any] = {
    "model": {"uri": "pvc://store/base"},
    "dataset": {"uri": "hf://datasets/org/rows", "split": "train", "evalFraction": 0.1, "maxSamples": 50},
    "method": "LoRA",
    "objective": "DPO",
    "dpo": {"beta": 0.2},
    "precision": "FP32",
    "lora": {"r": 8, "targetModules": ["q_proj"]},
    "hyperparameters": {
        "learningRate": 0.001,
        "maxLength": 128,
        "perDeviceTrainBatchSize": 2,
        "optim": "adafactor",
        "warmupRatio": 0.1,
        "longRows": "Drop",
        "evalSteps": 7,
    },
    "ropeScaling": {"type": "yarn", "factor": 4},
    "tokenizer": {"chatTemplate": "{{ messages }}", "eosToken": "<|end|>"},
    "checkpoints": {"everySteps": 50, "keep": 3},
}


def write(folder: Path, spec: dict[str, Any], **more: Any) -> Path:
    file = folder / "finetune.yaml"
    made = {
        "apiVersion": manifest.API,
        "kind": "FineTune",
        "metadata": {"name": "tuned"},
        "spec": spec,
    } | more
    file.write_text(yaml.safe_dump(made))
    return file


def test_a_manifest_of_fewer_bits_is_the_same_run_as_its_flags(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    spec = SPEC | {"method": "QLoRA", "precision": "Auto", "qlora": {"bits": 4, "doubleQuant": False}}
    flags, _ = flags_of("tuned", spec, {"store": tmp_path})
    needed = ["--model_name_or_path", "x", "--dataset", "y"]
    same = parse([*needed, "--bits", "4", "--double_quant", "false"])
    assert (flags.method, flags.precision, flags.qlora) == (same.method, same.precision, same.qlora)
    with pytest.raises(Wrong, match="precision PureBF16 is not for method QLoRA"):
        flags_of("tuned", spec | {"precision": "PureBF16"}, {"store": tmp_path})


def test_a_manifest_is_the_same_run_as_its_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claim" / "base").mkdir(parents=True)
    flags, notes = flags_of("tuned", SPEC, {"store": tmp_path / "claim"})
    assert notes == []
    words = f"""--model_name_or_path {tmp_path}/claim/base --dataset hf://datasets/org/rows --dataset_split train
        --eval_dataset_size 0.1 --max_train_samples 50 --objective dpo --dpo_beta 0.2 --bits 32 --lora_r 8
        --lora_alpha 32 --lora_modules q_proj --learning_rate 0.001 --model_max_length 128
        --per_device_train_batch_size 2 --gradient_accumulation_steps 1 --optim adafactor --lr_scheduler_type cosine
        --max_grad_norm 1 --warmup_ratio 0.1 --force_remove_overlength_samples true --eval_steps 7
        --seed 42 --save_steps 50 --save_total_limit 3 --output_dir tuned
        --rope_scaling yarn --rope_scaling_factor 4 --eos_token <|end|>""".split()
    words += ["--chat_template", "{{ messages }}"]
    assert flags == parse(words)
    monkeypatch.setattr("speechless.finetune.finetune.sampled_digest", lambda folder: "digest")
    assert identity_of(flags, tmp_path, ["rows"]) == identity_of(parse(words), tmp_path, ["rows"])


def test_a_checkpoint_after_every_epoch_is_the_same_here(tmp_path: Path) -> None:
    flags, _ = flags_of("tuned", SPEC | {"checkpoints": {"everyEpoch": True}}, {"store": tmp_path})
    assert (flags.save_every_epoch, flags.save_steps) == (True, 0)


def test_every_field_of_the_resource_has_a_meaning_or_is_named() -> None:
    fields = {info.alias or name for name, info in FineTuneSpec.model_fields.items()}
    assert fields == {*manifest._KNOWN, *CLUSTER_ONLY}
    of_model = {info.alias or name for name, info in ModelSource.model_fields.items()}
    known = {info.alias or name for name, info in manifest.Source.model_fields.items()}
    assert of_model == {*known, *REFERENCES}
    assert {*manifest._CLUSTER_ONLY_SOURCE, *manifest._REFUSED_SOURCE, "uri"} == known


def test_the_demos_manifest_is_read(tmp_path: Path) -> None:
    name, spec = read(ROOT / "examples" / "demo" / "30-finetune.yaml")
    flags, notes = flags_of(name, spec, {"speechless-artifacts": tmp_path})
    assert (name, flags.dataset) == ("tuned", str(tmp_path / "inputs" / "train.jsonl"))
    assert notes == [
        "spec.pod has no effect here: it is about the run in a cluster",
        "spec.model.waitSeconds has no effect here",
        "spec.dataset.waitSeconds has no effect here",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hyperparameter": {}}, "spec.hyperparameter is no field of a FineTune; did you mean hyperparameters?"),
        ({"queuName": "x"}, "spec.queuName is no field of a FineTune; did you mean queueName?"),
        ({"hyperparameters": {"learnRate": 1}}, "learnRate is no field of a FineTune; did you mean learningRate?"),
        ({"lora": {"rank": 8}}, "spec.lora.rank is no field"),
        ({"dpo": {"bet": 1}}, "spec.dpo.bet is no field of a FineTune; did you mean beta?"),
        ({"dataset": {"uri": "pvc://store/x", "evalFractions": 0}}, "did you mean evalFraction?"),
        ({"model": {"fineTune": {"name": "a"}}}, "spec.model.fineTune names a resource of a cluster"),
        ({"model": {"uri": "pvc://data/base"}}, "lies in the claim data: --claims data=DIR"),
        ({"model": {"uri": "pvc://store/../x"}}, "spec.model"),
        ({"model": {"uri": "image://registry/x"}}, "is mounted by a cluster alone"),
        ({"model": {"uri": "hf://org/x", "digest": "sha256:" + "0" * 64}}, "spec.model.digest is not looked at here"),
        ({"model": "base"}, "spec.model is missing"),
        ({"hyperparameters": {"learningRate": -1}}, "spec.hyperparameters.learningRate: Input"),
        ({"hyperparameters": {"packing": True}}, "packing goes with objective SFT"),
        ({"objective": "SFT"}, "dpo goes with objective DPO"),
        ({"method": "Full"}, "lora goes with method LoRA"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(Wrong) as caught:
        flags_of("tuned", SPEC | change, {"store": tmp_path})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "no YAML"),
        ("kind: Evaluation", "0 of the kind FineTune"),
        ("kind: FineTune\n---\nkind: FineTune", "2 of the kind FineTune"),
        ("kind: FineTune", "apiVersion is None"),
        ("{kind: FineTune, apiVersion: speechless.dev/v1alpha1}", "metadata.name"),
        ("{kind: FineTune, apiVersion: speechless.dev/v1alpha1, metadata: {name: ../x}}", "metadata.name"),
        ("{kind: FineTune, apiVersion: speechless.dev/v1alpha1, metadata: {name: x}}", "spec is missing"),
        ("!!python/object/apply:os.system ['touch pwned']", "no YAML"),
    ],
)
def test_a_file_that_is_none_is_one_line_and_status_2(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(text)
    assert main(["run", "-f", "x.yaml"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_file_that_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-f", "nowhere.yaml"]) == 1
    assert "nowhere.yaml: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["store", "=x", "store=nowhere"])
def test_a_claim_is_a_folder_that_is_there(word: str) -> None:
    with pytest.raises(Wrong, match="NAME=DIR, of a folder that is there"):
        claims_of([word])
