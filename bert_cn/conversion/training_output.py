"""Our own training output folders, as bert_cn.run_pretraining leaves them."""

import functools
import os
import re

import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from bert_cn.conversion import (
    folders,
    google_tf1,
    lazy_weights,
    model_card,
    pretrained,
    tokenizer_files,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.pretraining import checkpoints

_CHECKPOINT_FILE = re.compile(r"(\.index|\.data-\d+-of-\d+)$")


def find_prefix(path: str) -> str | None:
    """Return the prefix of the training checkpoint that a path means, or None.

    Args:
        path: a training output folder, for its newest checkpoint; or OUTPUT_DIR/ckpt-N
            or one of its files.
    """
    prefix = _CHECKPOINT_FILE.sub("", path)
    if not folders.exists(f"{prefix}.index"):
        prefix = _find_newest(path)
    return prefix if prefix and not google_tf1.is_name_based(prefix) else None


def _find_newest(folder: str) -> str | None:
    """Return the checkpoint that training would go on from."""
    if not tf.io.gfile.isdir(folder):
        return None
    if folders.exists(folder, checkpoints.CONFIG_FILE):
        # The file `checkpoint` may be older: a run may have been killed before it was
        # written, and it may not have been copied.
        for prefix in checkpoints.find_prefixes(folder):
            return prefix
    if folders.exists(folder, "checkpoint"):
        return tf.train.latest_checkpoint(folder)
    return None


def read(path: str, _: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read a checkpoint of a training output folder.

    Raises:
        ValueError: there is no checkpoint, or it does not fit the bert_config.json
            beside it.
    """
    prefix = find_prefix(path)
    if prefix is None:
        raise ValueError(
            f"{path!r} holds no training checkpoint: name the --output_dir of a python "
            "-m bert_cn.run_pretraining that has saved one, or a prefix in it, such as "
            "OUTPUT_DIR/ckpt-1000."
        )
    folder = os.path.dirname(prefix)
    config = config_lib.load_config(folders.join(folder, checkpoints.CONFIG_FILE))
    step = _read_step(prefix)
    return pretrained.PretrainedBert(
        config=config,
        weights=_read_weights(prefix, config),
        source=path,
        global_step=step,
        training_notes=model_card.describe_training(folder, step),
        **tokenizer_files.read_tokenizer_files(folder),
    )


def _read_step(prefix: str) -> int | None:
    match = re.search(r"-(\d+)$", prefix)
    return int(match.group(1)) if match else None


def _read_weights(
    prefix: str, config: config_lib.BertConfig
) -> dict[str, lazy_weights.LazyWeight]:
    """Find the model's weights by the names that Keras gave its variables.

    The key of a variable depends on what else was saved (under several replicas the
    weights' keys are the optimizer's), but its full name is always the variable's path.
    """
    reader = google_tf1.open_reader(prefix)
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor(google_tf1.OBJECT_GRAPH))
    keys = {
        attribute.full_name: attribute.checkpoint_key
        for node in graph.nodes
        for attribute in node.attributes
    }
    shapes = reader.get_variable_to_shape_map()
    table = weight_map.list_weights(config)
    return {
        weight.name: weight_map.lazy_from_layout(
            lazy_weights.LazyWeight(
                tuple(shapes[keys[weight.keras]]),
                functools.partial(
                    google_tf1.load_tensor, reader, keys[weight.keras], prefix
                ),
            ),
            weight.keras_layout,
            weight.shape,
        )
        for weight in table
        if weight.keras in keys
    }
