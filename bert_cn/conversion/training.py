"""Our own training output folders, as bert_cn.run_pretraining leaves them."""

import tensorflow as tf

from bert_cn import checkpoints, modeling
from bert_cn import config as config_lib
from bert_cn.conversion import (
    folders,
    keras_weights,
    model_card,
    pretrained,
    tf1,
    tokenizer_files,
)


def is_output_dir(path: str) -> bool:
    """Say whether a folder holds checkpoints of our training."""
    if not folders.exists(path, "checkpoint"):
        return False
    prefix = tf.train.latest_checkpoint(path)
    return prefix is not None and not tf1.is_name_based(prefix)


def read(path: str, _: pretrained.ReadOptions) -> pretrained.PretrainedBert:
    """Read the newest checkpoint of a training output folder.

    Raises:
        ValueError: there is no checkpoint, or it does not fit the bert_config.json
            beside it.
    """
    config = config_lib.load_config(folders.join(path, checkpoints.CONFIG_FILE))
    model = modeling.build_pretraining_model(config)
    step = checkpoints.restore_model(model, path)
    return pretrained.PretrainedBert(
        config=config,
        weights=keras_weights.canonical_from_model(model),
        source=path,
        global_step=step,
        training_notes=model_card.describe_training(path, step),
        **tokenizer_files.read_tokenizer_files(path),
    )
