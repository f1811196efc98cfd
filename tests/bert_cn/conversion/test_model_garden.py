"""The model_garden folder in TF Model Garden itself."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, model_garden
from bert_cn.conversion.weight_map import Part

_INTERPRETER = "BERT_CN_MODEL_GARDEN_PYTHON"
_RECIPE = (
    "python3.11 -m venv garden && garden/bin/pip install tf-models-official==2.20.0"
)

# Runs with tf-models-official: restore both encoders and the pretrainer, all of whose
# variables must get a value; save what they compute, and a checkpoint of their own.
_CLIENT = """
import importlib.metadata, json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np, tensorflow as tf
from official.nlp.modeling import layers, models, networks
folder, inputs, results, saved = sys.argv[1:]
config = json.load(open(folder + "/bert_config.json"))
arrays = np.load(inputs)
feed = {"input_word_ids": tf.constant(arrays["token_ids"]),
        "input_mask": tf.constant(arrays["mask"]),
        "input_type_ids": tf.constant(arrays["segment_ids"])}
def build(kind):
    return kind(
        vocab_size=config["vocab_size"], hidden_size=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_attention_heads=config["num_attention_heads"],
        intermediate_size=config["intermediate_size"],
        max_sequence_length=config["max_position_embeddings"],
        type_vocab_size=config["type_vocab_size"], dict_outputs=True)
values = {}
for number, kind in enumerate((networks.BertEncoder, networks.BertEncoderV2)):
    encoder = build(kind)
    if number:
        encoder(encoder.inputs)
    status = tf.train.Checkpoint(encoder=encoder).read(folder + "/bert_model.ckpt")
    status.expect_partial()
    status.assert_existing_objects_matched()
    outputs = encoder(feed)
    values[f"sequence_output_{number}"] = outputs["sequence_output"]
    values[f"pooled_output_{number}"] = outputs["pooled_output"]
head = layers.ClassificationHead(
    inner_dim=config["hidden_size"], num_classes=2, name="next_sentence")
pretrainer = models.BertPretrainerV2(
    encoder_network=build(networks.BertEncoder), classification_heads=[head],
    mlm_activation=lambda x: tf.nn.gelu(x, approximate=True))
pretrainer(pretrainer.inputs)
items = dict(pretrainer.checkpoint_items, next_sentence=head)
status = tf.train.Checkpoint(**items).read(folder + "/bert_model.ckpt")
status.expect_partial()
status.assert_existing_objects_matched()
positions = tf.tile(tf.range(16)[None], [2, 1])
outputs = pretrainer(dict(feed, masked_lm_positions=positions))
values["mlm_logits"] = outputs["mlm_logits"]
values["nsp_logits"] = outputs["next_sentence"]
np.savez(results, **{name: value.numpy() for name, value in values.items()})
tf.train.Checkpoint(model=pretrainer, **items).write(saved)
print(json.dumps(importlib.metadata.version("tf-models-official")))
"""


@pytest.mark.model_garden
def test_model_garden_restores_and_gives_our_outputs(
    build_bert,
    compute_outputs,
    model_input,
    assert_close,
    assert_same_weights,
    run_client,
    tmp_path,
):
    bert = build_bert()
    folder = tmp_path / "out"
    formats.write_checkpoint(bert, "model_garden", str(folder))
    np.savez(tmp_path / "inputs.npz", **vars(model_input))
    (tmp_path / "saved").mkdir()
    saved = tmp_path / "saved" / "bert_model.ckpt"
    paths = (folder, tmp_path / "inputs.npz", tmp_path / "results.npz", saved)

    done = run_client(_INTERPRETER, _RECIPE, _CLIENT, *paths)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == "2.20.0"
    ours = compute_outputs(bert)
    for name, array in np.load(tmp_path / "results.npz").items():
        assert_close(ours, {name.removesuffix("_0").removesuffix("_1"): array})
    (tmp_path / "saved" / "bert_config.json").write_text(bert.config.to_json())
    assert_same_weights(formats.read_checkpoint(str(saved)), bert)


@pytest.mark.parametrize("folder", ["", "ram://garden"])
def test_read_gives_back_what_was_written(
    folder, build_bert, assert_same_weights, tmp_path
):
    bert, folder = build_bert(), folder or str(tmp_path / "out")

    formats.write_checkpoint(bert, "model_garden", folder)
    formats.write_checkpoint(bert, "model_garden", folder, overwrite=True)

    for path in (folder, f"{folder}/bert_model.ckpt"):
        assert formats.find_format(path) == "model_garden"
        back = formats.read_checkpoint(path)
        assert_same_weights(back, bert)
        assert back.vocabulary.data == bert.vocabulary.data
        assert back.do_lower_case is False
    with tf.io.gfile.GFile(f"{folder}/README.md") as file:
        assert "With TF Model Garden" in file.read()


def test_encoder_alone_and_exact_activation(build_bert, tmp_path):
    bert = build_bert(parts=(Part.ENCODER, Part.POOLER), hidden_act="gelu_erf")
    formats.write_checkpoint(bert, "model_garden", str(tmp_path / "out"))

    back = formats.read_checkpoint(str(tmp_path / "out"))

    assert back.parts == (Part.ENCODER, Part.POOLER)
    assert back.config.hidden_act == "gelu_erf"
    (warning,) = formats.FORMATS["model_garden"].describe_differences(bert)
    assert "the tanh approximation of GELU unless told otherwise" in warning


def test_other_object_based_checkpoints_are_not_taken_for_model_garden(tmp_path):
    prefix = str(tmp_path / "bert_model.ckpt")
    tf.train.Checkpoint(encoder=tf.Variable(1.0)).write(prefix)

    assert model_garden.find_prefix(prefix) is None
    with pytest.raises(ValueError, match="is no checkpoint of TF Model Garden's BERT"):
        formats.read_checkpoint(prefix, "model_garden")
