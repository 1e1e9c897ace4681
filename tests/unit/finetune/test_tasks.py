"""Task directories: made, listed, run, from the command line."""

import os
import re
import shlex
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from speechless.finetune import taskenv, tasks, variables
from speechless.finetune.__main__ import main
from speechless.finetune.backup import backup
from speechless.finetune.flags import parse


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPEECHLESS_ROOT", raising=False)
    monkeypatch.delenv("PYTHON", raising=False)
    return tmp_path


def test_init_makes_a_task_that_list_finds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--task_name", "mine"]) == 0
    assert sorted(path.name for path in (here / "mine").iterdir()) == [
        *("Makefile", "custom_training.py", "dataset", "merge.sh", "run_finetune.sh", "run_inference.sh"),
        *("run_moe.sh", "run_pretrain.sh", "run_sglang_serve.sh", "task.env", "vllm_serve.sh"),
    ]
    assert os.access(here / "mine" / "run_finetune.sh", os.X_OK)
    assert "edit mine/task.env" in capsys.readouterr().out
    (here / "no-task").mkdir()
    (here / "file").write_text("")
    assert main(["list"]) == 0
    assert capsys.readouterr().out == "mine\n"


def test_init_overwrites_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "task.env").write_text("mine")
    assert main(["init", "--task_name", "mine"]) == 0
    assert "exists already; nothing was changed" in capsys.readouterr().out
    assert [path.read_text() for path in (here / "mine").iterdir()] == ["mine"]


def test_list_of_an_empty_folder_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["../x", "a/b", "/tmp/x", ".", "..", "", "a\\b"])
def test_a_path_is_no_task_name(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("init", "run", "merge"):
        with pytest.raises(SystemExit) as caught:
            main([command, "--task_name", name])
        assert caught.value.code == 2
    assert "not a path" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["init"], "init needs --task_name"),
        (["list", "--task_name", "x"], "--task_name has no effect on list"),
        (["run", "--task_name", "x", "--speechless_root", "/"], "--speechless_root has no effect on run"),
        (["init", "--task_nam", "x"], "unknown flag --task_nam; did you mean --task_name?"),
        (["train"], "invalid choice: 'train'"),
        (["moe"], "moe needs --task_name"),
        (["moe", "--task_name", "x", "--dry-run"], "--dry_run has no effect on moe"),
        (["merge", "--task_name", "x", "--dry-run"], "--dry_run has no effect on merge"),
        (["run", "--task_name", "x", "--claims", "a=b"], "--claims goes with -f"),
        (["run", "--task_name", "x", "-f", "y.yaml"], "-f and --task_name: leave one of them out"),
        (["run"], "run needs --task_name or -f"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_task_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "x").mkdir()
    assert main(["run", "--task_name", "x"]) == 1
    assert "x is no task directory" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "script"), [("run", "run_finetune.sh"), ("merge", "merge.sh")])
@pytest.mark.parametrize("status", [0, 1, 2, 75])
def test_a_scripts_status_is_the_commands(command: str, script: str, status: int, here: Path) -> None:
    main(["init", "--task_name", "x"])
    (here / "x" / script).write_text(f"echo $PWD > here\nexit {status}\n")
    assert main([command, "--task_name", "x"]) == status
    assert (here / "x" / "here").read_text() == f"{here / 'x'}\n"


def test_an_older_tasks_names_are_known(here: Path) -> None:
    (here / "old").mkdir()
    (here / "old" / "task.env").write_text("")
    (here / "old" / "run_sft.sh").write_text("exit 5\n")
    (here / "old" / "merge_sft.sh").write_text("exit 6\n")
    assert main(["run", "--task_name", "old"]) == 5
    assert main(["merge", "--task_name", "old"]) == 6


def test_a_tasks_python_is_the_one_that_runs_the_command(here: Path) -> None:
    main(["init", "--task_name", "x"])
    (here / "x" / "run_finetune.sh").write_text('echo "$PYTHON" > python\n')
    main(["run", "--task_name", "x"])
    assert (here / "x" / "python").read_text() == f"{sys.executable}\n"


def test_the_flag_goes_before_the_variable_and_that_before_the_package(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("flag", "variable"):
        template = here / name / "speechless" / "finetune" / "template"
        template.mkdir(parents=True)
        (template / "task.env").write_text(name)
        (template / "run_finetune.sh").write_text("")
    assert tasks.find_template(None, {}).name == "template"
    monkeypatch.setenv("SPEECHLESS_ROOT", str(here / "variable"))
    assert main(["init", "--task_name", "a"]) == 0
    assert (here / "a" / "task.env").read_text() == "variable"
    assert main(["init", "--task_name", "b", "--speechless_root", str(here / "flag")]) == 0
    assert (here / "b" / "task.env").read_text() == "flag"


def test_a_variable_that_was_exported_for_something_else_is_no_mistake(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHLESS_ROOT", str(here))
    assert main(["init", "--task_name", "a"]) == 0
    assert (here / "a" / "run_finetune.sh").is_file()


def test_a_root_without_template_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--task_name", "a", "--speechless_root", str(here)]) == 1
    assert "is no task template" in capsys.readouterr().err


def test_the_template_is_good_shell_and_asks_for_a_model(here: Path) -> None:
    main(["init", "--task_name", "x"])
    for script in ("run_finetune.sh", "merge.sh"):
        done = subprocess.run(
            ["bash", here / "x" / script],
            env={key: value for key, value in os.environ.items() if key != "BASE_MODEL_PATH"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode != 0
        assert "BASE_MODEL_PATH: set it in task.env" in done.stderr


def test_values_of_task_env_reach_the_trainer_unchanged(here: Path) -> None:
    main(["init", "--task_name", "x"])
    spy = here / "spy"
    spy.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > argv\n')
    spy.chmod(0o755)
    name = "a b; touch pwned; $(id) 'q'"
    status = subprocess.run(
        ["bash", here / "x" / "run_finetune.sh"],
        env=os.environ | {"PYTHON": str(spy), "BASE_MODEL_PATH": name, "MISC_PARAMS": "--max_steps 3"},
        check=False,
        timeout=60,
    ).returncode
    argv = (here / "x" / "argv").read_text().splitlines()
    assert status == 0
    assert argv[argv.index("--model_name_or_path") + 1] == name
    assert argv[-2:] == ["--max_steps", "3"]
    assert not (here / "x" / "pwned").exists()


@pytest.mark.parametrize("full", ["", "--full_finetune"])
def test_the_templates_flags_are_the_trainers(here: Path, full: str) -> None:
    main(["init", "--task_name", "x"])
    spy = here / "spy"
    spy.write_text('#!/bin/bash\nshift 2\nprintf "%s\\n" "$@" > argv\n')
    spy.chmod(0o755)
    environment = os.environ | {"PYTHON": str(spy), "BASE_MODEL_PATH": "model", "FULL_FINETUNE": full}
    subprocess.run(["bash", here / "x" / "run_finetune.sh"], env=environment, check=True, timeout=60)
    flags = parse((here / "x" / "argv").read_text().splitlines())
    assert flags.method == ("Full" if full else "LoRA")
    assert flags.hyperparameters.seed == 10042


def test_a_relative_base_model_is_looked_for_below_the_root_by_run_and_merge(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["init", "--task_name", "x"])
    spy = here / "spy"
    ask = "import os, sys; from speechless.environment import MODELS; from pathlib import Path;"
    say = "print(MODELS.find(Path(sys.argv[1])))"
    spy.write_text(f'#!/bin/bash\nwhile [ "$1" ] && [[ "$1" != *model_name_or_path ]]; do shift; done\n'
                   f'"{sys.executable}" -c "{ask}{say}" "$2" >> "{here}/found"\n')  # fmt: skip
    spy.chmod(0o755)
    model = here / "models" / "org" / "base"
    model.mkdir(parents=True)
    (here / "x" / "task.env").write_text(
        f'MODELS_ROOT_DIR="{here}/models"\n' + (here / "x" / "task.env").read_text()
    )
    monkeypatch.setenv("PYTHON", str(spy))
    monkeypatch.setenv("BASE_MODEL_PATH", "org/base")
    monkeypatch.delenv("MODELS_ROOT_DIR", raising=False)
    assert main(["run", "--task_name", "x"]) == 0
    assert main(["merge", "--task_name", "x"]) == 0
    assert (here / "found").read_text() == f"{model}\n{model}\n"


@pytest.fixture
def spy(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task `x` whose trainer writes the flags that it gets to `x/argv`."""
    main(["init", "--task_name", "x"])
    program = here / "spy"
    program.write_text('#!/bin/bash\nshift 2\nprintf "%s\\n" "$@" > argv\n')
    program.chmod(0o755)
    monkeypatch.setenv("PYTHON", str(program))
    monkeypatch.setenv("BASE_MODEL_PATH", "m")
    return here / "x"


def add(task: Path, lines: str) -> None:
    with (task / "task.env").open("a") as file:
        file.write(lines)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", ""),
        ("export WANDB_PROJECT=mine\n", ""),
        ("NUM_EXPERTS=16\n", ""),
        ("VLLM_PORT=9\n", ""),
        ("export LEARNING_RAT=1e-4\nRUN_NAME=a\nWANDB_PROJECT=$RUN_NAME\n", ""),
        ("MINE=1\n", "x/task.env sets MINE: nothing reads it"),
        ('DEEPSPEED=\nNEFTUNE=""\nOPTIM="${OPTIM:-}"\n# ROPE_THETA=1\nexport CUDA_VISIBLE_DEVICES=0\n', ""),
        ('EPOCHS=4\nNUM_TRAIN_EPOCHS="$EPOCHS"\nLORA_R=8\n', ""),
    ],
)
def test_a_setting_that_nothing_reads_is_told(
    lines: str, told: str, spy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(spy, lines)
    capsys.readouterr()
    assert main(["run", "--task_name", "x"]) == 0
    warned = capsys.readouterr().err
    assert told in warned
    assert warned.count("\n") == bool(told)


def test_what_is_refused_is_named_all_at_once_and_nothing_runs(
    spy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(spy, "NUM_GPUS=4\nPROMPT_TYPE=alpacca\nDEEPSEED_STAGE2='--deepspeed x.json'\n"
             "LEARNING_RATE=fast\n"
             "LORA_R=1.5\nPACKING=perhaps\n")  # fmt: skip
    first = (spy / "task.env").read_text().count("\n") - 5
    capsys.readouterr()
    assert main(["run", "--task_name", "x"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert not (spy / "argv").exists()
    assert len(told) == 6
    for number, said in enumerate(
        (
            "NUM_GPUS=4: training on several GPUs is not offered yet",
            "PROMPT_TYPE=alpacca: there are chat_template, alpaca, chatlm",
            "DEEPSEED_STAGE2=--deepspeed x.json: DeepSpeed is not offered yet",
            "LEARNING_RATE=fast: must be a number",
            "LORA_R=1.5: must be a whole number",
            "PACKING=perhaps: must be true or false",
        ),
        start=first,
    ):
        assert any(
            line.startswith(f"speechless finetune: x/task.env: line {number}: {said}") for line in told
        )


VALUES = {
    "TEXT": {"DATASET": "a b.jsonl", "DATASET_FORMAT": "messages", "BITS": "32", "OUTPUT_DIR": "out puts",
             "TASK_NAME": "mine", "DATASET_CONFIG": "main", "DATASET_SPLIT": "train",
             "LORA_MODULES": "q_proj,v_proj", "BAD_ROWS": "skip", "REPORT_TO": "wandb",
             "CHAT_TEMPLATE": "{{ messages }}", "EOS_TOKEN": "<|end|>", "ROPE_SCALING": "yarn"},
    "EMPTY": {"TASK_NAME": "", "LEARNING_RATE": "", "OPTIM": ""},
    "NUMBERS": {"LEARNING_RATE": "1e-3", "NUM_TRAIN_EPOCHS": "4", "NUM_EARLY_STOPPING_TRAIN_EPOCHS": "2",
                "MAX_TRAIN_SAMPLES": "0.5", "EVAL_DATASET_SIZE": "10", "MAX_EVAL_SAMPLES": "5", "EVAL_STEPS": "7",
                "WARMUP_STEPS": "3", "LOGGING_STEPS": "2", "SAVE_STEPS": "9", "LORA_R": "8", "LORA_ALPHA": "9",
                "LORA_DROPOUT": "0.1", "MODEL_MAX_LENGTH": "99", "ROPE_THETA": "1000000", "SLIDING_WINDOW": "4096",
                "PER_DEVICE_TRAIN_BATCH_SIZE": "3", "GRADIENT_ACCUMULATION_STEPS": "2", "SEED": "5",
                "MAX_MEMORY_MB": "40000"},
    "NAMED": {"PROMPT_TYPE": "chatml"},
    "BEST": {"LOAD_BEST_MODEL_AT_END": "True", "EVAL_DATASET_SIZE": "0.5"},
    "SCALED": {"ROPE_SCALING": "linear", "ROPE_SCALING_FACTOR": "2.5"},
    "TRUE": {"PACKING": "True", "REMOVE_OVERLENGTH_SAMPLES": "true", "GRADIENT_CHECKPOINTING": "true"},
    "FALSE": {"PACKING": "False", "GROUP_BY_LENGTH": "no", "REMOVE_OVERLENGTH_SAMPLES": "0"},
    "GROUPS": {"GROUP_BY_LENGTH": "True", "SAVE_STRATEGY": "epoch", "OPTIM": "adafactor"},
    "FLAGS": {"NEFTUNE": "--neftune --noise_alpha 5.0", "SAVE_TOTAL_LIMIT": "--save_total_limit 3",
              "MISC_PARAMS": "--max_steps 3  --weight_decay=0.1", "SAVE_STRATEGY": "no"},
    "WHOLE": {"ADD_REASONING_TOKENS": "--add_reasoning_tokens", "FULL_FINETUNE": "--full_finetune", "OBJECTIVE": "dpo",
              "LR_SCHEDULER_TYPE": "linear"},
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("how", ["exported", "written"])
def test_the_script_and_the_table_mean_the_same(
    name: str, how: str, spy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run goes by the table of variables, and a run by the template's script."""
    for variable, value in VALUES[name].items():
        if how == "exported":
            monkeypatch.setenv(variable, value)
        else:
            add(spy, f"{variable}={shlex.quote(value)}\n")
    assert main(["run", "--task_name", "x"]) == 0
    by_script = parse((spy / "argv").read_text().splitlines())
    assert parse(variables.arguments(tasks.settings(spy), os.environ)) == by_script
    changed = [row for row in VALUES[name] if variables.BY_NAME[row].use is variables.Use.TRAINER]
    assert changed


def test_every_variable_of_the_trainer_is_in_the_script_and_in_the_test() -> None:
    script = (tasks.find_template(None, {}) / "run_finetune.sh").read_text()
    tested = {name for values in VALUES.values() for name in values}
    for row in variables.VARIABLES:
        if row.use is variables.Use.TRAINER:
            assert f" {row.name}\n" in script or f"${{{row.name}:-}}" in script, row.name
            assert row.name in tested | {"BASE_MODEL_PATH"} or row.refused("x") or row.refused("4"), row.name


def test_the_table_has_the_documented_variables() -> None:
    documented = """
        MODELS_ROOT_DIR BASE_MODEL_PATH TEST_MODEL_PATH SPEECHLESS_DATA_DIR DATASET DATASET_FORMAT
        PROMPT_TYPE OUTPUT_DIR TASK_NAME TASK_CHECKPOINT_DIR WANDB_PROJECT MAX_TRAIN_SAMPLES MAX_EVAL_SAMPLES
        EVAL_DATASET_SIZE SAVE_STEPS EVAL_STEPS WARMUP_STEPS LOGGING_STEPS SAVE_STRATEGY SAVE_TOTAL_LIMIT
        NUM_TRAIN_EPOCHS NUM_EARLY_STOPPING_TRAIN_EPOCHS LEARNING_RATE LR_SCHEDULER_TYPE OPTIM BITS LORA_R
        LORA_ALPHA NUM_EXPERTS TOPK ADAPTER_DIM MODEL_MAX_LENGTH ROPE_THETA SLIDING_WINDOW NUM_GPUS
        PER_DEVICE_TRAIN_BATCH_SIZE GRADIENT_ACCUMULATION_STEPS GROUP_BY_LENGTH MAX_MEMORY_MB DEEPSEED
        DEEPSEED_STAGE2 DEEPSPEED NEFTUNE MISC_PARAMS ADD_REASONING_TOKENS VLLM_PORT TENSOR_PARALLEL_SIZE
        SGLANG_PORT RAY_memory_monitor_refresh_ms SPEECHLESS_ROOT
    """.split()  # noqa: SIM905 - a table
    assert set(documented) <= set(variables.BY_NAME)
    template = tasks.find_template(None, {})
    found = taskenv.read(template / "task.env", {})
    assert found.unread == []
    assert set(found.values) <= set(variables.BY_NAME)
    for row in variables.VARIABLES:
        expected = "./outputs" if row.name == "TASK_CHECKPOINT_DIR" else row.default
        assert found.values.get(row.name, "") == expected, row.name


def test_a_misplaced_line_does_not_keep_a_task_from_running(
    spy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts of earlier versions name the task by a command; bash reads it, and this program does not."""
    add(spy, 'export TASK_NAME=$(basename "$TEST_MODEL_PATH")\n')
    assert main(["run", "--task_name", "x"]) == 0
    assert "merged" in (spy / "argv").read_text().splitlines()
    assert "--task_name" not in variables.arguments(tasks.settings(spy), os.environ)
    add(spy, "LORA_R=$(nproc)\n")
    capsys.readouterr()
    assert main(["run", "--task_name", "x", "--dry-run"]) == 1
    line = (spy / "task.env").read_text().count("\n")
    assert f"x/task.env: line {line}: LORA_R: a command stands in the value" in capsys.readouterr().err


def test_pretraining_is_the_same_script_with_its_objective(spy: Path) -> None:
    assert main(["pretrain", "--task_name", "x"]) == 0
    assert parse((spy / "argv").read_text().splitlines()).objective == "Pretrain"


def test_a_backup_is_a_stored_zip_beside_the_task(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "--task_name", "x"])
    outputs = here / "x" / "outputs"
    (outputs / "checkpoint-3" / "adapter_model").mkdir(parents=True)
    (outputs / "checkpoint-3" / "adapter_model" / "weights").write_bytes(b"0" * 1000)
    (outputs / "latest").symlink_to("checkpoint-3")
    capsys.readouterr()
    assert main(["backup", "--task_name", "x"]) == 0
    file = Path(capsys.readouterr().out.strip())
    assert re.fullmatch(r"x-loras\.\d{8}-\d{6}\.zip", file.name)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        found = {info.filename: info for info in archive.infolist()}
        assert archive.read("x/outputs/latest") == b"checkpoint-3"
    assert {"x/task.env", "x/outputs/checkpoint-3/adapter_model/weights"} <= set(found)
    assert {info.compress_type for info in found.values()} == {zipfile.ZIP_STORED}
    assert stat.S_ISLNK(found["x/outputs/latest"].external_attr >> 16)
    assert stat.S_IMODE(found["x/run_finetune.sh"].external_attr >> 16) & 0o111
    assert sorted(path.name for path in here.iterdir()) == ["x", file.name]
    with pytest.raises(FileExistsError):
        backup(here / "x", time.mktime(time.strptime(file.name[8:23], "%Y%m%d-%H%M%S")))
    (here / "x" / "backup.sh").write_text("exit 7\n")
    assert main(["backup", "--task_name", "x"]) == 7


def test_every_setting_of_the_template_is_read(here: Path) -> None:
    main(["init", "--task_name", "x"])
    text = (here / "x" / "task.env").read_text().replace(":-", ":-value")
    (here / "x" / "task.env").write_text(text)
    assert tasks.without_effect(here / "x") == []


@pytest.mark.parametrize("limit", ["3", "--save_total_limit 3"])
def test_older_forms_of_settings_reach_the_trainer(limit: str, here: Path) -> None:
    main(["init", "--task_name", "x"])
    spy = here / "spy"
    spy.write_text('#!/bin/bash\nshift 2\nprintf "%s\\n" "$@" > argv\n')
    spy.chmod(0o755)
    environment = {"PYTHON": str(spy), "BASE_MODEL_PATH": "m", "SAVE_TOTAL_LIMIT": limit}
    environment |= {"EVAL_STEPS": "7", "EVAL_DATASET_SIZE": "10"}
    subprocess.run(
        ["bash", here / "x" / "run_finetune.sh"], env=os.environ | environment, check=True, timeout=60
    )
    flags = parse((here / "x" / "argv").read_text().splitlines())
    assert (flags.save_total_limit, flags.hyperparameters.eval_steps, flags.eval_dataset_size) == (3, 7, 10)


def test_a_name_that_was_mistyped_is_refused_with_the_one_that_was_meant(
    spy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(spy, "LEARNING_RAT=1e-4\n")
    line = (spy / "task.env").read_text().count("\n")
    capsys.readouterr()
    assert main(["run", "--task_name", "x"]) == 2
    told = f"x/task.env: line {line}: LEARNING_RAT: nothing reads it; did you mean LEARNING_RATE?\n"
    assert capsys.readouterr().err == f"speechless finetune: {told}"
    assert not (spy / "argv").exists()
    add(spy, 'MISC_PARAMS="--learning_rate $LEARNING_RAT"\n')  # it is of the user's own
    assert main(["run", "--task_name", "x"]) == 0
