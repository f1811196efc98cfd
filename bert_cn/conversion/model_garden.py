"""Object-based TF2 checkpoints of TF Model Garden's BERT: bert_model.ckpt.{index,data}.

TensorFlow restores such a checkpoint along the attributes that lead from the root to a
variable. Here they are those of tf-models-official 2.20: `BertEncoder` and
`BertEncoderV2` under "encoder", `MaskedLM` under "masked_lm", and a
`ClassificationHead` under "next_sentence", as `BertPretrainerV2.checkpoint_items` names
them. KerasHub has the same shapes, which stand in `weight_map`.
"""

import os
import re

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from bert_cn.conversion import (
    folders,
    google_tf1,
    pretrained,
    tf_checkpoint,
    tokenizer_files,
    weight_map,
)
from bert_cn.conversion.weight_map import Part
from bert_cn.model import config as config_lib
from bert_cn.training import run_files
from data_prep import storage

FILES = (
    f"{google_tf1.CHECKPOINT_NAME}.index",
    f"{google_tf1.CHECKPOINT_NAME}.data-*-of-*",
    run_files.CONFIG_FILE,
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
)
# Canonical name without its last part -> attributes; the last part follows them.
_DENSE_AND_NORM = {
    "bert/embeddings/LayerNorm": "encoder/_embedding_norm_layer",
    "bert/pooler/dense": "encoder/_pooler_layer",
    "cls/predictions/transform/dense": "masked_lm/dense",
    "cls/predictions/transform/LayerNorm": "masked_lm/layer_norm",
}
_LAYER = {
    "attention/self/query": "_attention_layer/_query_dense",
    "attention/self/key": "_attention_layer/_key_dense",
    "attention/self/value": "_attention_layer/_value_dense",
    "attention/output/dense": "_attention_layer/_output_dense",
    "attention/output/LayerNorm": "_attention_layer_norm",
    "intermediate/dense": "_intermediate_dense",
    "output/dense": "_output_dense",
    "output/LayerNorm": "_output_layer_norm",
}
_WHOLE_NAMES = {
    "bert/embeddings/word_embeddings": "encoder/_embedding_layer/embeddings",
    "bert/embeddings/token_type_embeddings": "encoder/_type_embedding_layer/embeddings",
    "bert/embeddings/position_embeddings": (
        "encoder/_position_embedding_layer/embeddings"
    ),
    "cls/predictions/output_bias": "masked_lm/bias",
    "cls/seq_relationship/output_weights": "next_sentence/out_proj/kernel",
    "cls/seq_relationship/output_bias": "next_sentence/out_proj/bias",
}
_LAYER_NAME = re.compile(r"bert/encoder/layer_(\d+)/(.*)/(\w+)$")
# Other programs put the encoder and the masked-LM head here.
_OTHER_ROOTS = {
    "encoder": ("encoder", "model/encoder_network", "model/encoder", "model"),
    "masked_lm": ("masked_lm", "model/masked_lm"),
    "next_sentence": ("next_sentence",),
}


def _find_path(name: str) -> str:
    """Return the attributes that lead to a weight, by its canonical name."""
    if name in _WHOLE_NAMES:
        return _WHOLE_NAMES[name]
    match = _LAYER_NAME.match(name)
    if match:
        number, layer, last = match.groups()
        return f"encoder/_transformer_layers/{number}/{_LAYER[layer]}/{last}"
    start, _, last = name.rpartition("/")
    return f"{_DENSE_AND_NORM[start]}/{last}"


def find_prefix(path: str) -> str | None:
    """Return the prefix of the Model Garden checkpoint that a path names, or None."""
    prefix = tf_checkpoint.strip_suffix(path)
    if not tf_checkpoint.exists(prefix):
        prefix = folders.join(prefix, google_tf1.CHECKPOINT_NAME)
    if not tf_checkpoint.exists(prefix):
        return None
    reader = tf_checkpoint.CheckpointReader(prefix)
    if not reader.is_object_based:
        return None
    word_embeddings = _find_path("bert/embeddings/word_embeddings")
    return prefix if _find_key(reader.read_object_graph(), word_embeddings) else None


def _find_key(
    graph: trackable_object_graph_pb2.TrackableObjectGraph, path: str
) -> str | None:
    """Return the checkpoint's key of a variable, or None if it is not there.

    Args:
        graph: of the checkpoint.
        path: the attributes that lead to the variable, from `_find_path`.
    """
    root, _, rest = path.partition("/")
    for start in _OTHER_ROOTS[root]:
        node = graph.nodes[0]
        for attribute in f"{start}/{rest}".split("/"):
            ids = [c.node_id for c in node.children if c.local_name == attribute]
            if not ids:
                break
            node = graph.nodes[ids[0]]
        else:
            return node.attributes[0].checkpoint_key if node.attributes else None
    return None


def read(path: str, options: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read the encoder and heads of a Model Garden checkpoint, and no optimizer state.

    Raises:
        ValueError: there is none, or its weights are not those of the
            bert_config.json beside it.
    """
    prefix = find_prefix(path)
    if prefix is None:
        raise ValueError(
            f"{path!r} is no checkpoint of TF Model Garden's BERT encoder: name the "
            f"prefix, such as folder/{google_tf1.CHECKPOINT_NAME}."
        )
    folder = os.path.dirname(prefix)
    config = config_lib.load_config(google_tf1.find_config(folder, options))
    reader = tf_checkpoint.CheckpointReader(prefix)
    graph = reader.read_object_graph()
    weights = {}
    for weight in weight_map.list_weights(config):
        key = _find_key(graph, _find_path(weight.name))
        if key is not None:
            weights[weight.name] = weight_map.lazy_from_layout(
                reader.lazy(key), weight.keras_layout, weight.shape
            )
    return pretrained.PretrainedBert(
        config=config,
        weights=weights,
        source=prefix,
        allow_partial=options.allow_partial,
        **tokenizer_files.read_tokenizer_files(folder),
    )


def describe_differences(bert: pretrained.PretrainedBert) -> list[str]:
    """Say how TF Model Garden's results will differ from this model's."""
    lost = tokenizer_files.describe_lost_words(bert, "TF Model Garden")
    if bert.config.hidden_act == config_lib.GELU_TANH:
        return lost
    return [
        *lost,
        "TF Model Garden's BertEncoder computes the tanh approximation of GELU unless "
        "told otherwise, and this model was trained with the exact one: build it with "
        "inner_activation=lambda x: tf.nn.gelu(x, approximate=False).",
    ]


def write(
    bert: pretrained.PretrainedBert, folder: str, _: pretrained.WriteOptions
) -> None:
    """Write bert_model.ckpt.*, bert_config.json and vocabulary to a local folder."""
    root = tf.train.Checkpoint()
    for weight in weight_map.list_weights(bert.config, bert.parts):
        array = weight_map.to_layout(
            bert.weights[weight.name], weight.keras_layout, weight.keras_shape
        )
        variable = tf.Variable(tf_checkpoint.share_memory(array), name=weight.name)
        *attributes, last = _find_path(weight.name).split("/")
        node = root
        for attribute in attributes:
            if not hasattr(node, attribute):
                setattr(node, attribute, tf.Module())
            node = getattr(node, attribute)
        setattr(node, last, variable)
    if bert.has(Part.MLM):
        root.masked_lm.embedding_table = root.encoder._embedding_layer.embeddings
    if bert.has(Part.NSP) and bert.has(Part.POOLER):
        # A ClassificationHead has a pooler of its own, and one object of a checkpoint
        # restores one object of a program, so this is a copy.
        pooler = tf.Module()
        pooler.kernel = tf.Variable(root.encoder._pooler_layer.kernel)
        pooler.bias = tf.Variable(root.encoder._pooler_layer.bias)
        root.next_sentence.dense = pooler
        setattr(root, "next_sentence.pooler_dense", pooler)
    root.write(os.path.join(folder, google_tf1.CHECKPOINT_NAME))
    config_file = os.path.join(folder, run_files.CONFIG_FILE)
    storage.write_whole(config_file, bert.config.to_json())
    tokenizer_files.write_vocabulary(bert, folder)
