import gzip
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from data_prep.records import schema
from tests.conftest import REPOSITORY

SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"
COMMAND = "data_prep.create_pretraining_data"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(
        "天气很好。\n我们出去。\n\n模型很大。\n词很多。\n", encoding="utf-8"
    )
    return path


# Runs many command lines in one process, because starting Python takes longer than one
# of them.
RUN_MANY = """
import contextlib, io, json, sys
from absl import flags
from data_prep import command_line, create_pretraining_data

found = []
for arguments in json.load(sys.stdin):
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS.unparse_flags()
    sys.argv = ["create_pretraining_data", *arguments]
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        try:
            command_line.run_command(create_pretraining_data.main)
        except SystemExit as end:
            found.append((end.code, error.getvalue()))
json.dump(found, sys.stdout)
"""


def make_bad_inputs(folder: pathlib.Path) -> None:
    text = "天气很好。\n我们出去。\n\n模型很大。\n词很多。\n".encode()
    special = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"]
    contents = {
        "text.txt": text,
        "vocab.txt": b"\n".join(special) + "\n天\n气".encode(),
        "nomask.txt": b"\n".join(special[:-1]) + b"\na",
        "empty.txt": b"",
        "gbk.txt": b"abc\n" + "天气".encode("gbk"),
        "plain.txt.gz": text,
        "short.txt.gz": gzip.compress(text)[:-9],
        "a.jsonl": b'{"content": "x"}\n',
        "bad_dict.txt": "好 词 典".encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


# Case -> (arguments, part of the message); {0} is the folder of `make_bad_inputs`.
REFUSED = {
    "glob_without_match": (
        ["--input_file={0}/none*.txt"],
        "none*.txt' matches no file",
    ),
    "empty_text": (["--input_file={0}/empty.txt"], "empty.txt' is empty (0 bytes)"),
    "text_not_utf8": (["--input_file={0}/gbk.txt"], "gbk.txt' is not UTF-8 at byte 4"),
    "text_not_compressed": (
        ["--input_file={0}/plain.txt.gz"],
        "plain.txt.gz' cannot be decompressed",
    ),
    "text_cut_off": (
        ["--input_file={0}/short.txt.gz"],
        "(it ends before its data do): check that",
    ),
    "jsonl_without_field": (
        ["--input_file={0}/a.jsonl"],
        "a.jsonl' line 1 has no field 'text'",
    ),
    "text_field_without_jsonl": (
        ["--text_field=content"],
        "--text_field=content is for files with fields, and no --in",
    ),
    "output_over_input": (
        ["--output_file={0}/text.txt", "--overwrite"],
        "/text.txt' would be replaced by a file that --output_file names: name another",
    ),
    "vocabulary_without_mask": (
        ["--vocab_file={0}/nomask.txt"],
        "(5 tokens) lacks [MASK]",
    ),
    "missing_vocabulary": (["--vocab_file=/none.txt"], "'/none.txt' cannot be read"),
    "bad_user_dict": (
        ["--user_dict={0}/bad_dict.txt"],
        "has '好 词 典' on line 1: a line is a word",
    ),
    "output_below_a_file": (["--output_file={0}/text.txt/a.tfrecord"], "text.txt"),
    "short_sequences": (
        ["--max_seq_length=4"],
        "--max_seq_length=4 cannot work: it must be from 5 to 65,535",
    ),
    "no_workers": (["--num_workers=0"], "--num_workers=0 cannot work"),
    "unknown_segmenter": (["--segmenter=ltp"], "rjieba|jieba|pkuseg|thulac|whitesp"),
    "stray_word": (["stray"], "Argument 'stray' belongs to no flag"),
    "token_masking_and_whole_words": (
        ["--do_whole_word_mask", "--masking=token"],
        "--masking=token contradicts --do_whole_word_mask, which is --masking=wwm",
    ),
    "word_masking_without_whole_words": (
        ["--nodo_whole_word_mask", "--masking=wwm"],
        "--masking=wwm contradicts --nodo_whole_word_mask, which is --masking=token",
    ),
    "copies_of_dynamic_records": (
        ["--masking_time=dynamic", "--dupe_factor=10"],
        "--dupe_factor=10 has no use with",
    ),
    "task_of_lines": (
        ["--packing=lines", "--sentence_task=sop"],
        "--packing=lines makes sequences of one part",
    ),
    "workers_on_beam": (
        ["--runner=DirectRunner", "--num_workers=2"],
        "--num_workers is for local processes",
    ),
}
if importlib.util.find_spec("apache_beam") is None:
    REFUSED["beam_not_installed"] = (
        ["--runner=DirectRunner"],
        "--runner=DirectRunner needs Apache Beam",
    )


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    """Run all of `REFUSED`; returns case -> (exit code, standard error), and files."""
    folder = tmp_path_factory.mktemp("refused")
    make_bad_inputs(folder)
    lines = [
        [
            f"--input_file={folder}/text.txt",
            f"--output_file={folder}/out-{case}/train.tfrecord",
            f"--vocab_file={folder}/vocab.txt",
            *(argument.replace("{0}", str(folder)) for argument in arguments),
        ]
        for case, (arguments, _) in REFUSED.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_MANY],
        input=json.dumps(lines),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    found = dict(zip(REFUSED, json.loads(done.stdout), strict=True))
    return found, sorted(folder.glob("out*/*.*[!k]"))


@pytest.mark.parametrize("case", REFUSED)
def test_bad_command_line_is_refused(refusals, case):
    found, _ = refusals
    code, error = found[case]
    _, message = REFUSED[case]
    assert code == 1, error
    assert message in error
    assert "Traceback" not in error


def test_refused_command_lines_write_nothing(refusals):
    _, files = refusals
    assert files == []


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
    # No notice of TensorFlow.
    assert done.stderr == ""
    record = next(iter(tf.data.TFRecordDataset(str(output))))
    parsed = tf.io.parse_single_example(record, schema.parsing_spec(64, 10, "v2"))
    assert parsed["input_word_ids"].shape == (64,)


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


def test_choices_are_in_manifest_and_summary(run_command, tmp_path, write_vocabulary):
    text = "“天气很好。”我们出去……"
    lines = [json.dumps({"body": text + str(n)}, ensure_ascii=False) for n in range(9)]
    (tmp_path / "a.jsonl.gz").write_bytes(
        gzip.compress("\n".join(lines).encode() + b'\n{"body": "\xff"}')
    )
    done = run_command(
        COMMAND,
        f"--input_file={tmp_path}/a.jsonl.gz",
        f"--output_file={tmp_path}/a.tfrecord",
        f"--vocab_file={write_vocabulary(*'天气很好。我们出去⋯', *map(str, range(9)))}",
        "--text_field=body",
        "--on_bad_utf8=replace",
        "--fix_punctuation",
        "--packing=lines",
        "--masking=ngram",
        "--mask_unit=word",
        "--masking_time=dynamic",
    )
    assert done.returncode == 0, done.stderr
    assert "10 documents, 28 sentences" in done.stdout
    # Two quotes of each document have no substitute, its two ellipses have.
    assert "Punctuation: 18 characters replaced." in done.stdout
    assert "Text holds 1 characters U+FFFD" in done.stdout
    assert "tokens each, to be masked while training." in done.stdout
    manifest = json.loads((tmp_path / "a.manifest.json").read_text(encoding="utf-8"))
    chosen = {
        "text_field": "body",
        "on_bad_utf8": "replace",
        "fix_punctuation": True,
        "packing": "lines",
        "sentence_task": "none",
        "masking": "ngram",
        "mask_unit": "word",
        "masking_time": "dynamic",
        "dupe_factor": 1,
    }
    assert {name: manifest[name] for name in chosen} == chosen


@pytest.mark.slow
def test_ctrl_c_says_how_to_resume(tmp_path, write_vocabulary):
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
