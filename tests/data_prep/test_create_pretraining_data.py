import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from data_prep import schema

REPOSITORY = pathlib.Path(__file__).parents[2]
SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"
COMMAND = "data_prep.create_pretraining_data"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "天气很好。\n我们出去。\n\n模型很大。\n词很多。\n", encoding="utf-8"
    )
    return path


@pytest.fixture
def check_refused(assert_refused, tmp_path, text_file, write_vocabulary):
    """Run the command with some flags changed; check that it is refused."""

    def check(*flags: str, saying: tuple[str, ...], vocab_file=None):
        output = tmp_path / "out" / "train.tfrecord"
        vocab_file = vocab_file or write_vocabulary(*"天气很好。")
        error = assert_refused(
            COMMAND,
            f"--input_file={text_file}",
            f"--output_file={output}",
            f"--vocab_file={vocab_file}",
            *flags,
            saying=saying,
        )
        assert not list(output.parent.glob("*.tfrecord"))
        assert not list(output.parent.glob("*.json"))
        return error

    return check


def test_command_writes_records_and_says_where(
    run_command, tmp_path, write_vocabulary, monkeypatch
):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    letters = set((SAMPLE / "news.txt").read_text(encoding="utf-8")) - {" ", "\n"}
    output = tmp_path / "out" / "train.tfrecord"
    done = run_command(
        COMMAND,
        f"--input_file={SAMPLE}/news.txt",
        f"--output_file={output}",
        f"--vocab_file={write_vocabulary(*sorted(letters))}",
        "--nodo_lower_case",
        "--do_whole_word_mask",
        "--feature_names=v2",
        "--dupe_factor=1",
        "--max_seq_length=64",
        "--max_predictions_per_seq=10",
    )
    assert done.returncode == 0, done.stderr
    assert str(output) in done.stdout
    assert "% random next" in done.stdout
    # Nothing of TensorFlow's own notices.
    assert done.stderr == ""
    record = next(iter(tf.data.TFRecordDataset(str(output))))
    parsed = tf.io.parse_single_example(record, schema.parsing_spec(64, 10, "v2"))
    assert parsed["input_word_ids"].shape == (64,)


def test_no_match_is_refused(check_refused, tmp_path):
    check_refused(
        f"--input_file={tmp_path}/none*.txt", saying=("none*.txt' matches no file",)
    )


def test_empty_file_is_refused(check_refused, tmp_path):
    (tmp_path / "empty.txt").touch()
    check_refused(
        f"--input_file={tmp_path}/empty.txt", saying=("empty.txt' is empty (0 bytes)",)
    )


def test_bad_utf8_is_refused(check_refused, tmp_path):
    path = tmp_path / "gbk.txt"
    path.write_bytes(b"abc\n" + "天气".encode("gbk"))
    check_refused(f"--input_file={path}", saying=("gbk.txt' is not UTF-8 at byte 4",))


def test_vocabulary_without_mask_is_refused(check_refused, write_vocabulary):
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    path = write_vocabulary("天", special=special)
    check_refused(vocab_file=path, saying=("(5 tokens) lacks [MASK]",))


def test_missing_vocabulary_is_refused(check_refused):
    check_refused(vocab_file="/none.txt", saying=("'/none.txt' cannot be read",))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--max_seq_length=4", "--max_seq_length=4 cannot work: it must be 5 or more"),
        ("--num_workers=0", "--num_workers=0 cannot work"),
        ("--segmenter=ltp", "rjieba|jieba|whitespace|none"),
        ("stray", "Argument 'stray' belongs to no flag"),
    ],
)
def test_bad_flags_are_refused(check_refused, flag, message):
    check_refused(flag, saying=(message,))


def test_output_that_cannot_be_written_is_refused(check_refused, tmp_path):
    (tmp_path / "file").touch()
    check_refused(f"--output_file={tmp_path}/file/train.tfrecord", saying=("file",))


def test_unknown_tokens_are_warned_of(
    run_command, tmp_path, text_file, write_vocabulary
):
    done = run_command(
        COMMAND,
        f"--input_file={text_file}",
        f"--output_file={tmp_path}/a.tfrecord",
        f"--vocab_file={write_vocabulary(*'天气很好。我们')}",
        "--nodo_lower_case",
        "--max_predictions_per_seq=5",
    )
    assert done.returncode == 0, done.stderr
    assert "of the tokens are [UNK]: the vocabulary has no upper-case" in done.stderr
    assert "--max_predictions_per_seq=5 is less than" in done.stderr


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path, write_vocabulary):
    letters = set((SAMPLE / "news.txt").read_text(encoding="utf-8")) - {" ", "\n"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            COMMAND,
            f"--input_file={SAMPLE}/*.txt",
            f"--output_file={tmp_path}/train.tfrecord",
            f"--vocab_file={write_vocabulary(*sorted(letters))}",
            "--dupe_factor=2000",
            "--num_workers=2",
            "--num_shards=2",
        ],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "train.work" / "plan.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "interrupted; every finished part of the output stays" in error
    assert "python -m data_prep.create_pretraining_data '--input_file=" in error


def test_runner_without_beam_and_its_flags_are_refused(check_refused):
    check_refused(
        "--runner=DirectRunner",
        "--num_workers=2",
        saying=("--num_workers is for local processes",),
    )
    if importlib.util.find_spec("apache_beam") is None:
        check_refused(
            "--runner=DirectRunner",
            saying=("--runner=DirectRunner needs Apache Beam", "pip install"),
        )
