"""Pipes, devices, huge numbers and deep nesting are refused: nothing waits for them.

A case that hangs fails by the alarm, after ten seconds.
"""

import os
import signal

import pytest

from bert_cn.conversion import folders, formats
from bert_cn.model import config as config_lib
from data_prep import storage
from data_prep.records.settings import Settings
from data_prep.text import segmentation, vocab

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(autouse=True)
def alarm():
    def fail(number, frame):
        raise TimeoutError("the case did not end")

    earlier = signal.signal(signal.SIGALRM, fail)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, earlier)


@pytest.mark.parametrize(
    "read",
    [
        storage.read_bytes,
        storage.read_json,
        vocab.load_vocabulary,
        segmentation.load_user_dict,
        config_lib.load_config,
        folders.read_json,
        formats.read_checkpoint,
    ],
)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipe_or_device_is_refused(read, kind, tmp_path):
    path = "/dev/zero"
    if kind == "pipe":
        path = str(tmp_path / "pipe")
        os.mkfifo(path)
    with pytest.raises(ValueError, match="is a pipe or a device"):
        read(path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
@pytest.mark.parametrize("input_format", ["auto", "pt"])
def test_checkpoint_with_a_pipe_is_refused(name, input_format, tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 10}')
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}' is a pipe or a device"):
        formats.read_checkpoint(str(tmp_path), input_format)


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("num_hidden_layers", 10**9, "1,000"),
        ("hidden_size", 10**12, "10,000,000"),
        ("vocab_size", 2**63, "10,000,000"),
    ],
)
def test_sizes_of_no_model_are_refused(name, value, most):
    values = {"vocab_size": 10, "hidden_size": 12, "num_attention_heads": 3}
    with pytest.raises(ValueError, match=f"{name} must be from 1 to {most}. Received"):
        config_lib.parse_config({**values, name: value}, "config.json")


@pytest.mark.parametrize("name", ["max_seq_length", "max_predictions_per_seq"])
def test_lengths_of_no_record_are_refused(name):
    with pytest.raises(ValueError, match=f"--{name}=1000000000 cannot work: .*65,535"):
        Settings(**{name: 10**9}).check()


def test_deep_json_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(DEEP)
    with pytest.raises(ValueError, match="it is nested too deeply"):
        storage.read_json(str(path))
    with pytest.raises(ValueError, match=r"not a JSON file \(it is nested too deeply"):
        config_lib.load_config(str(path))
    with pytest.raises(ValueError, match=r"not a JSON file \(it is nested too deeply"):
        folders.read_json(str(path))
