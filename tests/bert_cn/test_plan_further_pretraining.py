import re

import pytest

from bert_cn.conversion import formats
from data_prep.text import vocab as vocab_lib

MODULE = "bert_cn.plan_further_pretraining"
SENTENCES = (
    "语言模型学习中国的语言。",
    "学习让模型知道下一个字是什么。",
    "tensorflow 是一个工具。",
)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "domain.txt"
    path.write_text(
        "\n\n".join("\n".join(SENTENCES) + "学" * i for i in range(60)) + "\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def checkpoint(build_bert, tmp_path):
    """A small random model that knows the characters of `text`."""
    characters = sorted(set("".join(SENTENCES)) - set(" abcdefghijklmnopqrstuvwxyz"))
    tokens = (*vocab_lib.REQUIRED_TOKENS, *characters, "ten", "##sor", "##flow")
    vocabulary = vocab_lib.Vocabulary(
        tokens, "test", "".join(f"{token}\n" for token in tokens).encode()
    )
    bert = build_bert(vocab_size=len(tokens), max_position_embeddings=32)
    bert.vocabulary, bert.do_lower_case = vocabulary, True
    folder = tmp_path / "bert"
    formats.write_checkpoint(bert, "pt", str(folder))
    return folder


def test_plan_says_what_fits_and_its_commands_run(
    run_command, checkpoint, text, tmp_path
):
    out = tmp_path / "out"
    arguments = [
        f"--init_checkpoint={checkpoint}",
        f"--input_file={text}",
        f"--output_dir={out}",
        "--max_seq_length=16",
        "--train_batch_size=8",
        "--measured_steps=1",
    ]
    done = run_command(MODULE, *arguments)
    assert done.returncode == 0, done.stderr
    assert " 0.00% [UNK] under the" in done.stdout
    assert re.search(r"Head: masked_lm_loss [\d.]+, masked_lm_accuracy", done.stdout)
    assert re.search(r"Speed here: [\d.]+ sequences a second", done.stdout)
    assert re.search(r"3 epochs: \d+ steps, \d+ minutes", done.stdout)
    assert "tensorflow (60, 120)" in done.stdout
    assert "tensorflow\n" in (out / "words.txt").read_text(encoding="utf-8")

    after = done.stdout.split("Next:\n")[1]
    lines = re.sub(r"\\\n\s*", "", after).splitlines()
    commands = [line.split() for line in lines if line.startswith("  python")]
    assert [command[2] for command in commands] == [
        "data_prep.create_pretraining_data",
        "bert_cn.run_pretraining",
    ]
    data, train = (command[2:] for command in commands)
    made = run_command(*data)
    assert made.returncode == 0, made.stderr
    trained = run_command(*train, "--num_train_steps=2")
    assert trained.returncode == 0, trained.stderr
    assert "\n2/2  " in trained.stdout


@pytest.mark.parametrize(
    ("content", "flags", "saying"),
    [
        ("зима лето осень\n" * 30, (), ("of the tokens of --input_file are [UNK]",)),
        ("学习。\n", ("--max_seq_length=64",), ("has 32 positions", "--resize_pos")),
        (" \n", (), ("holds only white space",)),
    ],
)
def test_text_or_length_that_cannot_work_is_refused(
    assert_refused, checkpoint, tmp_path, content, flags, saying
):
    path = tmp_path / "text.txt"
    path.write_text(content, encoding="utf-8")
    assert_refused(
        MODULE,
        f"--init_checkpoint={checkpoint}",
        f"--input_file={path}",
        f"--output_dir={tmp_path / 'out'}",
        "--max_seq_length=16",
        *flags,
        saying=saying,
    )
