"""`make demo` with its flag files, but few steps and no conversion."""

import re

import pytest

from tests.conftest import REPOSITORY

CORPUS = "data_prep/sample_corpus/*.txt"
HELD_OUT = "data_prep/sample_corpus/held_out/*.txt"


@pytest.mark.slow
def test_demo_trains_and_says_what_was_learned(run_command, tmp_path):
    def run(module: str, *arguments: str) -> str:
        done = run_command(module, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_records(name: str, *arguments: str) -> None:
        run(
            "data_prep.create_pretraining_data",
            "--flagfile=configs/demo/data.flags",
            f"--output_file={tmp_path}/{name}.tfrecord",
            f"--vocab_file={tmp_path}/vocab.txt",
            "--dupe_factor=2",
            *arguments,
        )
        assert (tmp_path / f"{name}.report.png").exists()

    def pretrain(name: str, flag_file: str, *arguments: str) -> None:
        run(
            "bert_cn.run_pretraining",
            f"--flagfile=configs/demo/{flag_file}",
            f"--input_file={tmp_path}/whole_words-*:1,{tmp_path}/single_tokens-*:1",
            f"--eval_input_file={tmp_path}/held_out.tfrecord",
            f"--output_dir={tmp_path}/{name}",
            "--num_warmup_steps=0",
            "--max_eval_steps=2",
            *arguments,
        )

    run(
        "data_prep.build_vocab",
        f"--input_file={CORPUS}",
        f"--output_file={tmp_path}/vocab.txt",
        "--vocab_size=4000",
    )
    make_records("whole_words")
    make_records("single_tokens", "--masking=token")
    make_records("held_out", f"--input_file={HELD_OUT}", "--num_shards=1")
    pretrain("untrained", "untrained.flags")
    pretrain("model", "pretrain.flags", "--num_train_steps=4", "--eval_every_steps=2")
    summary = run("configs.demo.summary", str(tmp_path))
    assert re.search(r"by step:  0: [\d.]+%  2: [\d.]+%  4: [\d.]+%", summary)
    assert re.search(r"masked_lm_accuracy( +[\d.]+%){3}\n", summary)
    assert re.search(r"next_sentence_accuracy( +[\d.]+%){3}\n", summary)
    assert re.search(r"\d of 5 right", summary)


def test_held_out_documents_and_sentences_are_in_no_training_text():
    held_out = read_documents(HELD_OUT)
    trained_on = read_documents(CORPUS)
    names = [{path.name for path in REPOSITORY.glob(p)} for p in (CORPUS, HELD_OUT)]
    assert names[0] == names[1]  # Each topic is held out.
    assert not held_out & trained_on
    text = "".join(held_out | trained_on)
    sentences = (REPOSITORY / "configs/demo/sentences.txt").read_text(encoding="utf-8")
    for sentence in sentences.replace("[", "").replace("]", "").splitlines():
        assert sentence not in text


def read_documents(pattern: str) -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in REPOSITORY.glob(pattern)]
    return {document for text in texts for document in text.strip().split("\n\n")}
