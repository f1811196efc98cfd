"""SIGKILL at random moments: the command, run again, writes the same bytes."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY
from tests.data_prep.runner.conftest import SAMPLE

COMMAND = "data_prep.create_pretraining_data"
# More of them: BERT_CN_KILLS=10 pytest tests/data_prep/runner/test_kills.py
KILLS = int(os.environ.get("BERT_CN_KILLS", "3"))
PLAIN = ("--dupe_factor=30", "--do_whole_word_mask")
# All that compares or leaves out documents, and packed, compressed records.
EVERYTHING = (
    *("--deduplicate=near", "--drop_repeated_lines=30", "--filter={folder}/rules.json"),
    *("--eval_fraction=0.1", "--masking_time=dynamic", "--pack_sequences=4"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> pathlib.Path:
    """A folder with the sample corpus, likenesses of its documents, and rules."""
    folder = tmp_path_factory.mktemp("corpus")
    for path in SAMPLE.glob("*.txt"):
        documents = path.read_text(encoding="utf-8").strip().split("\n\n")
        content = "\n\n".join(
            f"{text[:20]}{number}{text[20:]}\n版权所有"
            for number in range(4)
            for text in documents
        )
        (folder / path.name).write_text(content, encoding="utf-8")
    (folder / "rules.json").write_text('{"min_doc_words": 5}')
    return folder


def start(corpus, vocab_file: str, output: pathlib.Path, flags) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", COMMAND),
            f"--input_file={corpus}/*.txt",
            f"--output_file={output}/train.tfrecord",
            f"--vocab_file={vocab_file}",
            *("--num_shards=6", "--num_workers=2"),
            *(flag.format(folder=corpus) for flag in flags),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def read_folder(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_killed_at_random_moments_and_run_again_gives_the_same_bytes(
    corpus, tmp_path, vocab_file, flags
):
    whole = tmp_path / "whole"
    begin = time.monotonic()
    assert start(corpus, vocab_file, whole, flags).wait() == 0
    seconds = time.monotonic() - begin
    expected = read_folder(whole)
    assert sum(name.endswith(".tfrecord") for name in expected) >= 6
    draw = random.Random(20)
    for attempt in range(KILLS):
        folder = tmp_path / f"killed{attempt}"
        process = start(corpus, vocab_file, folder, flags)
        time.sleep(seconds * draw.uniform(0.25, 1.0))
        # The main process alone: its workers must notice by themselves.
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)
        assert start(corpus, vocab_file, folder, flags).wait() == 0
        assert read_folder(folder) == expected
        shutil.rmtree(folder)
