"""bert-cn, the name for all commands."""

import subprocess
import sys

import pytest

from bert_cn import __main__ as one_command
from tests.conftest import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bert_cn", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


def test_every_command_has_a_name():
    commands = {
        f"{package}.{path.stem}"
        for package in ("bert_cn", "data_prep", "tpu")
        for path in (REPOSITORY / package).glob("*.py")
        if path.stem != "__main__"
        and 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    }
    assert {module for module, _ in one_command.COMMANDS.values()} == commands


@pytest.mark.parametrize(
    ("words", "module", "rest"),
    [
        ("data --seed=1", "data_prep.create_pretraining_data", ["--seed=1"]),
        ("finetune ner", "bert_cn.run_ner", []),
        ("tpu supervise -- x", "tpu.supervise", ["--", "x"]),
        ("finetune", "", ["finetune"]),
    ],
)
def test_words_name_a_module(words, module, rest):
    assert one_command.find_command(words.split()) == (module, rest)


def test_command_is_the_module():
    one, module = (
        run("params"),
        subprocess.run(
            [sys.executable, "-m", "bert_cn.count_params"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
        ),
    )
    assert one.returncode == 0
    assert one.stdout == module.stdout
    assert run("params", "--flag=1").returncode == 1


def test_help_lists_all_and_a_wrong_name_is_refused():
    shown = run("--help").stdout
    for name, (module, _) in one_command.COMMANDS.items():
        assert f"  {name} " in shown
        assert f"python -m {module}" in shown
    wrong = run("train")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("bert-cn: error: 'train' is no command: name one of")
    assert run("--version").stdout.startswith("bert_cn ")


def test_completion_knows_names_and_flags():
    assert run("--complete", "").stdout.split()[:3] == ["convert", "data", "encode"]
    assert run("--complete", "tpu").stdout.split() == [
        "health",
        "preflight",
        "supervise",
    ]
    flags = run("--complete", "fill").stdout.split()
    assert "--top_k=" in flags
    assert "--do_lower_case" in flags


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_script_is_printed(shell):
    assert "bert-cn --complete" in run(f"--completion={shell}").stdout
    assert run("--completion=fish").returncode == 1


def test_bash_completes(tmp_path):
    path = tmp_path / "bert-cn"
    path.write_text(
        f'#!/bin/sh\ncd {REPOSITORY} && exec {sys.executable} -m bert_cn "$@"\n'
    )
    path.chmod(0o755)
    script = f"""
PATH={tmp_path}:$PATH
eval "$(bert-cn --completion=bash)"
COMP_WORDS=(bert-cn fine) COMP_CWORD=1
_bert_cn 2>/dev/null
echo "${{COMPREPLY[*]}}"
COMP_WORDS=(bert-cn fill --top) COMP_CWORD=2
_bert_cn 2>/dev/null
echo "${{COMPREPLY[*]}}"
"""
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["finetune", "--top_k="], done.stderr
