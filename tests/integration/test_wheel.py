"""The built wheel, outside the repository."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import REPOSITORY

# What setup.py reads, without what earlier builds left.
PARTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "configs")
PACKAGES = ("bert_cn", "data_prep", "tpu")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of the installed wheel, without its dependencies."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PARTS, *PACKAGES):
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
        elif (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=wheels", "."]
    done = subprocess.run([*pip, *build], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "wheels").glob("*.whl")
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


@pytest.mark.slow
def test_wheel_goes_from_text_to_a_filled_mask_outside_the_repository(
    installed, tmp_path
):
    def run(module: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    corpus = installed / "data_prep" / "sample_corpus"
    run(
        "data_prep.build_vocab",
        f"--input_file={corpus}/*.txt",
        "--output_file=out/demo/vocab.txt",
        "--vocab_size=4000",
    )
    for name, text in (("train", "*.txt"), ("held_out", "held_out/*.txt")):
        run(
            "data_prep.create_pretraining_data",
            f"--input_file={corpus}/{text}",
            f"--output_file=out/demo/{name}.tfrecord",
            "--vocab_file=out/demo/vocab.txt",
            "--nodo_lower_case",
        )
    run(
        "bert_cn.run_pretraining",
        "--recipe=demo/pretrain",
        "--input_file=out/demo/train.tfrecord",
        "--num_train_steps=2",
        "--num_warmup_steps=0",
        "--max_eval_steps=1",
    )
    run(
        "bert_cn.convert_checkpoint",
        "--input=out/demo/model",
        "--output_format=pt",
        "--output_dir=out/demo/pt",
    )
    filled = run("bert_cn.fill_mask", "--checkpoint=out/demo/pt", "今天[MASK]很好。")
    assert re.search(r"0\.\d+", filled), filled
    assert "giant" in run("bert_cn.count_params")


def test_wheel_has_every_recipe_and_size(installed):
    for path in sorted((REPOSITORY / "configs").glob("*/*.*")):
        if path.suffix != ".py":
            copy = installed / "bert_cn" / "configs" / path.parent.name / path.name
            assert copy.read_bytes() == path.read_bytes()
