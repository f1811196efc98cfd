"""Every format gives back what was written, bit for bit, and is recognised."""

import json
import os
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import format_names, formats, google_tf1, weight_map
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib

WITHOUT_TORCH = ("tf1", "tf2", "keras")


def test_flags_offer_the_formats_that_there_are():
    readable = [name for name, entry in formats.FORMATS.items() if entry.read]
    writable = [name for name, entry in formats.FORMATS.items() if entry.write]

    assert list(format_names.INPUT_FORMATS) == readable
    assert list(format_names.OUTPUT_FORMATS) == writable


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="pip install 'bert_cn[torch]' for pt")


@pytest.mark.parametrize("output_format", WITHOUT_TORCH)
def test_read_gives_back_what_was_written(
    output_format, build_bert, assert_same_weights, tmp_path
):
    bert = build_bert()

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))
    back = formats.read_checkpoint(str(tmp_path / "out"))

    assert formats.find_format(str(tmp_path / "out")) == output_format
    assert_same_weights(back, bert)
    assert back.config == bert.config
    assert back.vocabulary.data == bert.vocabulary.data
    assert back.do_lower_case is False


def test_tf1_to_pt_to_keras_to_tf1_is_bit_equal(
    torch, build_bert, assert_same_weights, tmp_path
):
    first = build_bert()
    formats.write_checkpoint(first, "tf1", str(tmp_path / "tf1"))

    bert = formats.read_checkpoint(str(tmp_path / "tf1"))
    for name in ("pt", "keras", "tf2", "tf1"):
        folder = str(tmp_path / f"to_{name}")
        formats.write_checkpoint(bert, name, folder)
        bert = formats.read_checkpoint(folder)
        assert formats.find_format(folder) == name

    assert_same_weights(bert, first)
    assert bert.config == first.config
    for suffix in ("data-00000-of-00001", "index"):
        name = f"bert_model.ckpt.{suffix}"
        before, after = (tmp_path / path / name for path in ("tf1", "to_tf1"))
        assert before.read_bytes() == after.read_bytes()


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"])
@pytest.mark.parametrize("output_format", [*WITHOUT_TORCH])
def test_activation_survives(activation, output_format, build_bert, tmp_path):
    bert = build_bert(hidden_act=activation)

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))

    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert back.config.hidden_act == activation


def test_exact_activation_is_announced_where_the_software_differs(build_bert):
    exact, tanh = build_bert(hidden_act="gelu_erf"), build_bert(hidden_act="gelu")

    for output_format in ("keras", "tf1"):
        (warning,) = formats.FORMATS[output_format].describe_differences(exact)
        assert "the tanh approximation of GELU" in warning
        assert formats.FORMATS[output_format].describe_differences(tanh) == []
    assert formats.FORMATS["pt"].describe_differences(exact) == []


@pytest.mark.parametrize("output_format", WITHOUT_TORCH)
def test_encoder_without_heads_stays_so(
    output_format, build_bert, assert_same_weights, tmp_path
):
    bert = build_bert(parts=(Part.ENCODER, Part.POOLER))

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))

    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert back.parts == (Part.ENCODER, Part.POOLER)
    assert_same_weights(back, bert)


def test_tf1_checkpoint_restores_through_its_meta_graph(build_bert, tmp_path):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "out"))
    prefix = str(tmp_path / "out" / "bert_model.ckpt")

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saver = tf.compat.v1.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        variables = tf.compat.v1.global_variables()
        values = {v.op.name: session.run(v) for v in variables}

    assert values.keys() == bert.weights.keys()
    for name, array in bert.weights.items():
        assert np.array_equal(values[name], array), name


def test_tf1_files_are_those_of_a_google_release(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))

    assert sorted(os.listdir(tmp_path / "out")) == [
        "README.md",
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "bert_model.ckpt.meta",
        "tokenizer_config.json",
        "vocab.txt",
    ]


@pytest.mark.parametrize("output_format", WITHOUT_TORCH)
def test_remote_folder_is_written_and_read(
    output_format, build_bert, assert_same_weights
):
    # TensorFlow's in-memory file system goes the way that gs:// goes.
    folder = f"ram://conversion/{output_format}"
    bert = build_bert()

    formats.write_checkpoint(bert, output_format, folder)
    formats.write_checkpoint(bert, output_format, folder, overwrite=True)

    assert_same_weights(formats.read_checkpoint(folder), bert)


def test_killed_conversion_leaves_no_folder(build_bert, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(google_tf1, "_write_meta_graph", fail)

    with pytest.raises(OSError, match="disk full"):
        formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))

    assert os.listdir(tmp_path) == []


def test_folder_with_files_needs_overwrite(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf2", str(tmp_path / "out"))

    with pytest.raises(ValueError, match="is not empty.*--overwrite"):
        formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))


def test_overwrite_replaces_an_older_conversion(build_bert, tmp_path):
    folder = tmp_path / "out"
    formats.write_checkpoint(build_bert(), "tf2", str(folder))

    formats.write_checkpoint(build_bert(), "tf1", str(folder), overwrite=True)

    assert formats.find_format(str(folder)) == "tf1"
    assert not (folder / "tf_model.h5").exists()


@pytest.mark.parametrize("name", ["thesis.docx", "README.md"])
def test_overwrite_keeps_a_file_that_no_conversion_writes(name, build_bert, tmp_path):
    folder = tmp_path / "out"
    formats.write_checkpoint(build_bert(), "tf1", str(folder))
    (folder / name).write_text("mine")

    with pytest.raises(ValueError, match=f"holds {re.escape(name)}"):
        formats.write_checkpoint(build_bert(), "tf1", str(folder), overwrite=True)

    assert (folder / name).read_text() == "mine"
    assert os.listdir(tmp_path) == ["out"]


def test_config_json_says_what_is_computed(build_bert, tmp_path):
    for activation, name in (("gelu", "gelu_new"), ("gelu_erf", "gelu")):
        folder = tmp_path / activation
        formats.write_checkpoint(build_bert(hidden_act=activation), "tf2", str(folder))

        values = json.loads((folder / "config.json").read_text())
        assert values["hidden_act"] == name
        assert values["architectures"] == ["BertForPreTraining"]
        assert values["layer_norm_eps"] == 1e-12
        assert values["model_type"] == "bert"
        assert values["pad_token_id"] == 0
        assert values["vocab_size"] == 42
        assert "xla_device" not in values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("model_type", "roberta"),
        ("model_type", "albert"),
        ("hidden_act", "relu"),
    ],
)
def test_config_json_of_another_model_is_refused(key, value, build_bert, tmp_path):
    folder = tmp_path / "out"
    formats.write_checkpoint(build_bert(), "tf2", str(folder))
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {key: value}))

    with pytest.raises(ValueError, match=f"config.json: {key} is {value!r}"):
        formats.read_checkpoint(str(folder))


def test_tf2_names_without_the_models_name_are_read(
    build_bert, assert_same_weights, tmp_path
):
    bert = build_bert()
    folder = tmp_path / "out"
    formats.write_checkpoint(bert, "tf2", str(folder))
    # A model that was called before it was named has no name in front.
    with h5py.File(folder / "tf_model.h5", "r+") as file:
        for layer in ("bert", "nsp___cls", "mlm___cls"):
            file.move(f"{layer}/tf_bert_for_pre_training/{layer}", f"{layer}/{layer}")

    assert_same_weights(formats.read_checkpoint(str(folder)), bert)


def test_tf2_long_lists_of_names_are_split_as_keras_does(build_bert, tmp_path):
    deep = build_bert(num_hidden_layers=80, hidden_size=3, intermediate_size=2)
    formats.write_checkpoint(deep, "tf2", str(tmp_path / "out"))

    with h5py.File(tmp_path / "out" / "tf_model.h5") as file:
        attributes = dict(file["bert"].attrs)
        names = [name for key in sorted(attributes) for name in attributes[key]]

    assert len(attributes) > 1
    assert len(names) == 5 + 80 * 16 + 2
    assert names[-1] == b"tf_bert_for_pre_training/bert/pooler/dense/bias:0"


def test_tf1_prefix_file_and_folder_name_the_same_checkpoint(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))
    prefix = str(tmp_path / "out" / "bert_model.ckpt")

    for path in (prefix, f"{prefix}.index", str(tmp_path / "out")):
        assert formats.find_format(path) == "tf1"
        assert google_tf1.find_prefix(path) == prefix


@pytest.mark.shared_data
def test_google_checkpoint_to_pt_and_back_is_equal(
    torch, shared_folder, assert_same_weights, tmp_path
):
    prefix = shared_folder / "weights" / "tf1_tiny_keras_bert" / "bert_model.ckpt"
    reader = tf.train.load_checkpoint(str(prefix))

    google = formats.read_checkpoint(str(prefix))
    formats.write_checkpoint(google, "pt", str(tmp_path / "pt"))
    bert = formats.read_checkpoint(str(tmp_path / "pt"))
    formats.write_checkpoint(bert, "tf1", str(tmp_path / "tf1"))
    back = tf.train.load_checkpoint(str(tmp_path / "tf1" / "bert_model.ckpt"))

    names = [
        name
        for name in reader.get_variable_to_shape_map()
        if "adam" not in name and name != "global_step"
    ]
    assert google.global_step == 20
    assert sorted(back.get_variable_to_shape_map()) == sorted(names)
    assert len(names) == len(weight_map.list_weights(google.config)) == 46
    for name in names:
        assert reader.get_tensor(name).tobytes() == back.get_tensor(name).tobytes()
    assert google.config.hidden_act == config_lib.GELU_TANH


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("bert-base-chinese", "bert-base-chinese"),
        ("hfl/chinese-roberta-wwm-ext", "chinese-roberta-wwm-ext"),
        ("hfl/rbt3", "rbt3"),
    ],
)
def test_name_of_the_hub_gets_its_download(name, folder):
    with pytest.raises(ValueError, match=f"hf download {name} --local-dir {folder}$"):
        formats.read_checkpoint(name)


@pytest.mark.parametrize("name", ["model", "{0}/model-x", "../a-b"])
def test_path_of_this_machine_gets_no_download(name, tmp_path):
    with pytest.raises(ValueError, match="No checkpoint is recognised") as raised:
        formats.read_checkpoint(name.format(tmp_path))
    assert "hf download" not in str(raised.value)
