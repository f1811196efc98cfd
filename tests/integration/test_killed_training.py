"""Training that is killed again and again ends with the weights of an unbroken run.

BERT_CN_KILLS=10 kills it ten times; `pytest -s` shows where each kill came.
"""

import os
import pathlib
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, keras_weights, pretrained
from bert_cn.model import config as config_lib
from bert_cn.model import pretraining_model
from data_prep.records.settings import Settings
from data_prep.runner import local, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab
from tests.conftest import REPOSITORY

SAMPLE = REPOSITORY / "data_prep" / "sample_corpus"
LENGTH, PREDICTIONS = 32, 5
KILLS = int(os.environ.get("BERT_CN_KILLS", "2"))
# A run is killed at the latest when three further checkpoints are there.
SAVE_EVERY, KEPT = 3, 3
NUM_STEPS = SAVE_EVERY * (3 * KILLS + 3)


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> dict[str, str]:
    """Flags of a run on records that are masked while training, --output_dir apart."""
    folder = tmp_path_factory.mktemp("killed")
    text = (SAMPLE / "news.txt").read_text(encoding="utf-8")
    tokens = (*vocab.REQUIRED_TOKENS, *sorted(set(text.lower()) - set(" \n")))
    vocabulary = vocab.Vocabulary(
        tokens, "test", "".join(token + "\n" for token in tokens).encode()
    )
    settings = Settings(
        max_seq_length=LENGTH,
        max_predictions_per_seq=PREDICTIONS,
        masking="wwm",
        masking_time="dynamic",
        dupe_factor=1,
    )
    job = Job(
        corpus.find_files(str(SAMPLE / "news.txt")),
        vocabulary,
        settings,
        outputs.plan_outputs(str(folder / "train.tfrecord"), 4),
    )
    local.run(job, 1, False)
    config = config_lib.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=2 * LENGTH,
    )
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.1
    (folder / "bert_config.json").write_text(config.to_json(), encoding="utf-8")
    _write_teacher(config, vocabulary, folder / "teacher")
    return {
        "bert_config_file": str(folder / "bert_config.json"),
        "input_file": str(folder / "train*.tfrecord"),
        "max_seq_length": LENGTH,
        "max_predictions_per_seq": PREDICTIONS,
        "train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-3,
        "num_train_steps": NUM_STEPS,
        "num_warmup_steps": 10,
        "save_checkpoints_steps": SAVE_EVERY,
        "max_checkpoints": KEPT,
        "schedule": "wsd",
        "initial_masked_lm_prob": 0.3,
        "output_vocabulary": "seen",
        "shift_positions": "true",
        "teacher_checkpoint": str(folder / "teacher"),
        "teacher_relation_weight": 0.5,
        "layer_decay": 0.9,
        "l2_to_init": 0.01,
        "do_train": "true",
    }


def _write_teacher(config, vocabulary, folder: pathlib.Path) -> None:
    model = pretraining_model.build_pretraining_model(config)
    weights = keras_weights.canonical_from_model(model)
    bert = pretrained.PretrainedBert(config, weights, "a random model", vocabulary)
    formats.write_checkpoint(bert, "tf1", str(folder))


@pytest.fixture
def start(warm, flags):
    """Starts training into a folder."""
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    return lambda folder: warm.start(
        "bert_cn.run_pretraining", [*arguments, f"--output_dir={folder}"]
    )


def list_files(folder: pathlib.Path) -> set[str]:
    """Names of the checkpoint files in a folder that may not be there yet."""
    return {path.name for path in folder.glob("*ckpt*")}


def wait_for_saves(process, folder: pathlib.Path, number: int) -> None:
    """Return as soon as this many more checkpoints have files, half or whole."""
    known = list_files(folder)
    seen = set()
    while len(seen) < number:
        assert process.poll() is None, f"it ended too early: {process.read_stderr()}"
        seen |= {
            name.split(".")[0].split("_")[0] for name in list_files(folder) - known
        }
        time.sleep(0.002)


def kill_at_random(
    process, folder: pathlib.Path, draw: random.Random, start_seconds: float
) -> str:
    """Kill a run while it starts, trains or saves; returns what its folder holds."""
    if draw.random() < 0.3:
        # The machine may be busier at one time than at another.
        deadline = time.monotonic() + draw.uniform(0, start_seconds)
        known = list_files(folder)
        while time.monotonic() < deadline and list_files(folder) == known:
            time.sleep(0.002)
    else:
        # Three steps and a save take turns, each some 30 ms long; half of these kills
        # come as soon as the first file of a checkpoint is there.
        wait_for_saves(process, folder, draw.randint(1, 3))
        time.sleep(max(0, draw.uniform(-0.1, 0.1)))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    names = list_files(folder)
    half = [name for name in names if not name.endswith((".index", "-00001"))]
    steps = [int(name.split(".")[0][5:]) for name in names if name.endswith(".index")]
    return f"newest checkpoint {max(steps, default=0)}, half-written files: {half}"


def read_variables(folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Everything in the last checkpoint: weights, optimizer, step, random states."""
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{NUM_STEPS}"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        # The graph of objects is no state, and a killed run has saved more or less.
        if "OBJECT_GRAPH" not in name and not name.startswith("save_counter")
    }


@pytest.mark.slow
def test_killed_at_random_moments_ends_with_the_weights_of_the_unbroken_run(
    start, tmp_path
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin = time.monotonic()
    process = start(whole)
    wait_for_saves(process, whole, 1)
    start_seconds = time.monotonic() - begin
    errors = process.communicate()[1]
    assert process.returncode == 0, errors

    draw = random.Random(7)
    for kill in range(KILLS):
        found = kill_at_random(start(killed), killed, draw, start_seconds)
        print(f"kill {kill + 1}: {found}")
    process = start(killed)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors

    expected, found = read_variables(whole), read_variables(killed)
    assert found.keys() == expected.keys()
    assert len(expected) > 100
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    # Nothing half-written stays, and old checkpoints go as in the unbroken run.
    assert list_files(killed) == list_files(whole)
