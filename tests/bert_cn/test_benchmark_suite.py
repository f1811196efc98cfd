"""benchmark_suite as a user runs it."""

import subprocess
import sys

import pytest

from bert_cn.conversion import formats
from bert_cn.suite import model
from tests.conftest import REPOSITORY

COMMAND = "bert_cn.benchmark_suite"


def test_the_suite_itself_is_without_tensorflow():
    program = (
        "import sys\n"
        "from bert_cn import benchmark_suite\n"
        "from bert_cn.suite import flags, plot, recipes, results, runs, tables\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("out/mini", "mini"),
        ("out/mini/best/", "mini"),
        ("chinese_L-12/bert_model.ckpt", "chinese_L-12"),
        ("/best", "best"),
        ("gs://bucket/mini/best", "mini"),
    ],
)
def test_checkpoints_are_named_by_their_folder(path, name):
    assert model.name_checkpoint(path) == name


def test_the_folder_one_is_in_names_its_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "mini").mkdir()
    monkeypatch.chdir(tmp_path / "mini")
    assert model.name_checkpoint(".") == "mini"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--checkpoint is empty: name what to fine-tune."),
        (["--checkpoint=x", "--data_dir=absent", "--output_dir=o"], "is no folder"),
        (
            ["--checkpoint=x", "--data_dir=.", "--output_dir=o", "--name=a/b"],
            "--name=a/b cannot be a row's folder: give a plain name.",
        ),
        (
            ["--checkpoint=x", "--data_dir=.", "--output_dir=o", "--name=.."],
            "--name=.. cannot be a row's folder: give a plain name.",
        ),
    ],
)
def test_bad_flags_end_with_one_sentence(assert_refused, arguments, message):
    assert_refused(COMMAND, *arguments, saying=(message,))


@pytest.mark.slow  # Four processes that import TensorFlow.
def test_a_checkpoint_and_its_random_twin_become_a_table(
    run_command, build_bert, tmp_path
):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "tf1"))
    folder = tmp_path / "data" / "chnsenticorp"
    folder.mkdir(parents=True)
    for name in ("train", "dev"):
        rows = [f"{n % 2}\t{'京国'[n % 2]}{name[n % 3]}首都" for n in range(8)]
        (folder / f"{name}.tsv").write_text("label\ttext_a\n" + "\n".join(rows) + "\n")
    (folder / "test.tsv").write_text("label\ttext_a\n1\t国都\n0\t京都\n1\t国首\n")
    # A set that cannot be run: its dev has a label that is none.
    odd = tmp_path / "data" / "afqmc"
    odd.mkdir()
    pair = '{{"sentence1": "国", "sentence2": "京", "label": "{}"}}\n'
    (odd / "train.json").write_text(pair.format(0) + pair.format(1))
    (odd / "dev.json").write_text(pair.format(7))
    arguments = (
        *(f"--checkpoint={tmp_path}/tf1", f"--data_dir={tmp_path}/data"),
        *("--suite=clue", "--random_baseline", f"--output_dir={tmp_path}/out"),
        *("--tasks=chnsenticorp,afqmc", "--num_seeds=1"),
        "--run_flags=--max_seq_length=16",
    )

    done = run_command(COMMAND, *arguments)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 of 4 runs failed (tf1 afqmc seed 12345: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "4 runs: 2 tasks, 2 rows, seeds 12345; 0 are finished." in done.stdout
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert lines[2].startswith(
        "| Model | ChnSentiCorp dev (accuracy) | ChnSentiCorp te"
    )
    assert [line.split(" | ")[0] for line in lines[4:7]] == [
        "| tf1",
        "| tf1-random",
        "| majority class",
    ]
    assert lines[6] == "| majority class | 50.00 | 66.67 |"
    unfinished = "tf1  afqmc  seed 12345; tf1-random  afqmc  seed 12345."
    assert any(line.endswith(f"Failed or not run yet: {unfinished}") for line in lines)
    log = (tmp_path / "out/tf1-random/chnsenticorp/seed_12345/log.txt").read_text()
    assert "Started from random weights." in log
    assert (tmp_path / "out" / "table.png").exists()
