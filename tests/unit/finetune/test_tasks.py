"""Task directories: made, listed, run, from the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechless.finetune import tasks
from speechless.finetune.__main__ import main


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
        "dataset",
        "merge.sh",
        "run_finetune.sh",
        "task.env",
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
    from speechless.finetune.flags import parse

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


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", ""),
        ("PROMPT_TYPE=alpaca\nexport WANDB_PROJECT=mine\n", "x/task.env sets PROMPT_TYPE, WANDB_PROJECT: "),
        ("LEARNING_RAT=1e-4\n", "x/task.env sets LEARNING_RAT: "),
        ('  NUM_GPUS="4"  # all\nNUM_GPUS=8\n', "x/task.env sets NUM_GPUS: "),
        ('DEEPSPEED=\nNEFTUNE=""\nOPTIM="${OPTIM:-}"\n# ROPE_THETA=1\nexport CUDA_VISIBLE_DEVICES=0\n', ""),
        ('EPOCHS=4\nNUM_TRAIN_EPOCHS="$EPOCHS"\nLORA_R=8\n', ""),
    ],
)
def test_a_setting_that_nothing_reads_is_told(
    lines: str,
    told: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["init", "--task_name", "x"])
    with (here / "x" / "task.env").open("a") as file:
        file.write(lines)
    spy = here / "spy"
    spy.write_text("#!/bin/sh\n")
    spy.chmod(0o755)
    capsys.readouterr()
    monkeypatch.setenv("PYTHON", str(spy))
    monkeypatch.setenv("BASE_MODEL_PATH", "m")
    assert main(["run", "--task_name", "x"]) == 0
    warned = capsys.readouterr().err
    assert told in warned
    assert warned.count("\n") == bool(told)


def test_every_setting_of_the_template_is_read(here: Path) -> None:
    main(["init", "--task_name", "x"])
    text = (here / "x" / "task.env").read_text().replace(":-", ":-value")
    (here / "x" / "task.env").write_text(text)
    assert tasks.without_effect(here / "x") == []


@pytest.mark.parametrize("limit", ["3", "--save_total_limit 3"])
def test_older_forms_of_settings_reach_the_trainer(limit: str, here: Path) -> None:
    from speechless.finetune.flags import parse

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
    assert (flags.save_total_limit, flags.eval_steps, flags.eval_dataset_size) == (3, 7, 10)
