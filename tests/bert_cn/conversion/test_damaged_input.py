"""Checkpoints that are damaged or do not fit are refused in one sentence."""

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats


@pytest.fixture
def write(build_bert, tmp_path):
    """Write a folder of a format to damage."""

    def run(output_format):
        folder = tmp_path / output_format
        formats.write_checkpoint(build_bert(), output_format, str(folder))
        return folder

    return run


def test_fewer_layers_than_the_config_says(write, build_bert):
    folder = write("tf1")
    config = build_bert(num_hidden_layers=3).config
    (folder / "bert_config.json").write_text(config.to_json())

    with pytest.raises(ValueError, match=r"no BERT of 3 layers: missing 16 \(bert/enc"):
        formats.read_checkpoint(str(folder))


def test_tf1_without_config(write):
    folder = write("tf1")
    (folder / "bert_config.json").unlink()

    with pytest.raises(ValueError, match=r"bert_config.json is not there"):
        formats.read_checkpoint(str(folder))


@pytest.mark.parametrize("size", [0, 40])
@pytest.mark.parametrize(
    ("output_format", "name"),
    [
        ("tf1", "bert_model.ckpt.data-00000-of-00001"),
        ("tf1", "bert_model.ckpt.index"),
        ("tf2", "tf_model.h5"),
        ("tf2", "config.json"),
        ("keras", "model.weights.h5"),
        ("keras", "heads.weights.h5"),
    ],
)
def test_cut_off_file(size, output_format, name, write):
    path = write(output_format) / name
    path.write_bytes(path.read_bytes()[:size])

    with pytest.raises(ValueError, match=r"cannot be read|cannot load|is not a JSON"):
        formats.read_checkpoint(str(path.parent))


def test_cut_off_safetensors(write):
    folder = write("tf2")
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")

    with pytest.raises(ValueError, match=r"model.safetensors cannot be read"):
        formats.read_checkpoint(str(folder))


def test_training_checkpoint_of_another_model(build_bert, tmp_path):
    checkpoint = tf.train.Checkpoint(model=tf.Variable(np.zeros(3, np.float32)))
    tf.train.CheckpointManager(
        checkpoint, str(tmp_path), 1, checkpoint_name="ckpt"
    ).save()
    (tmp_path / "bert_config.json").write_text(build_bert().config.to_json())

    with pytest.raises(
        ValueError, match=r"no BERT of 2 layers: missing \d+ \(bert/emb"
    ):
        formats.read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("path", ["", "/nowhere/bert_model.ckpt"])
def test_nothing_there(path):
    with pytest.raises(ValueError, match="there is nothing there"):
        formats.read_checkpoint(path)


def test_preset_of_another_model(write):
    folder = write("keras")
    text = (folder / "config.json").read_text()
    text = text.replace("BertBackbone", "AlbertBackbone")
    (folder / "config.json").write_text(text)

    with pytest.raises(ValueError, match="is a preset of 'AlbertBackbone'"):
        formats.read_checkpoint(str(folder))


def test_unknown_output_format(build_bert, tmp_path):
    with pytest.raises(ValueError, match="must be one of tf1, tf2, keras, pt"):
        formats.write_checkpoint(build_bert(), "onyx", str(tmp_path / "out"))


def test_unknown_input_format(tmp_path):
    with pytest.raises(ValueError, match="must be one of training, tf1"):
        formats.read_checkpoint(str(tmp_path), "onyx")
