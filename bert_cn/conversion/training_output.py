"""Our own training output folders, as bert_cn.run_pretraining leaves them."""

import os
import re

import tensorflow as tf

from bert_cn.conversion import (
    folders,
    lazy_weights,
    model_card,
    pretrained,
    tf_checkpoint,
    tokenizer_files,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.training import run_files


def find_prefix(path: str) -> str | None:
    """Return the prefix of the training checkpoint that a path names, or None.

    Args:
        path: a training output folder, for its newest checkpoint; or OUTPUT_DIR/ckpt-N
            or one of its files.
    """
    prefix = tf_checkpoint.strip_suffix(path)
    if not tf_checkpoint.exists(prefix):
        prefix = _find_newest(path)
    if not prefix or not tf_checkpoint.CheckpointReader(prefix).is_object_based:
        return None
    return prefix


def _find_newest(folder: str) -> str | None:
    """Return the checkpoint that training would resume from."""
    if not tf.io.gfile.isdir(folder):
        return None
    if folders.exists(folder, run_files.CONFIG_FILE):
        # The file `checkpoint` may be older: a run may have been killed before it was
        # written, and it may not have been copied.
        for prefix in run_files.find_prefixes(folder):
            return prefix
    if folders.exists(folder, "checkpoint"):
        return folders.latest_checkpoint(folder)
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
    config = config_lib.load_config(folders.join(folder, run_files.CONFIG_FILE))
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
    reader = tf_checkpoint.CheckpointReader(prefix)
    keys = {
        attribute.full_name: attribute.checkpoint_key
        for node in reader.read_object_graph().nodes
        for attribute in node.attributes
    }
    return {
        weight.name: weight_map.lazy_from_layout(
            reader.lazy(keys[weight.keras]), weight.keras_layout, weight.shape
        )
        for weight in weight_map.list_weights(config)
        if weight.keras in keys
    }
