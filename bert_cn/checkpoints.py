"""Save, find, restore and prune training checkpoints, and what lies beside them.

A training output folder holds

    bert_config.json, vocab.txt, tokenizer_config.json, data_manifest.json
    checkpoint, ckpt-STEP.index, ckpt-STEP.data-00000-of-00001

so that conversion and filling in masks need nothing but the folder.
"""

import dataclasses
import json
import os

import keras
import tensorflow as tf

from bert_cn import config as config_lib
from data_prep import manifest as manifest_lib
from data_prep import vocab as vocab_lib

CONFIG_FILE = "bert_config.json"
VOCAB_FILE = "vocab.txt"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
MANIFEST_FILE = "data_manifest.json"
_CHECKPOINT_NAME = "ckpt"


class TrainingCheckpoints:
    """The checkpoints of one run: model, optimizer slots, step and random states.

    The step is the optimizer's count of updates.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        output_dir: str,
        max_to_keep: int,
    ):
        self._optimizer = optimizer
        self._checkpoint = tf.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            # Keras tracks the weights of its layers, but not the states of dropout's
            # random generators, and without them a resumed run draws other masks.
            random_states=[v.value for v in model.non_trainable_variables],
        )
        self._manager = tf.train.CheckpointManager(
            self._checkpoint,
            output_dir,
            max_to_keep=max_to_keep,
            checkpoint_name=_CHECKPOINT_NAME,
        )

    @property
    def latest(self) -> str | None:
        """Prefix of the newest checkpoint, or None."""
        return self._manager.latest_checkpoint

    def restore_latest(self) -> int:
        """Restore the newest checkpoint if there is one.

        Returns:
            The step after which it was saved; 0 without a checkpoint.

        Raises:
            ValueError: the checkpoint does not fit the model.
        """
        if self.latest is None:
            return 0
        _restore(self._checkpoint, self.latest)
        return read_step(self._optimizer)

    def save(self) -> str:
        """Save under the current step and prune; returns the prefix."""
        return self._manager.save(checkpoint_number=read_step(self._optimizer))


def read_step(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many updates the optimizer has made, under any strategy."""
    return int(optimizer.iterations.value.numpy())


def restore_model(model: keras.Model, output_dir: str) -> int:
    """Restore the model's weights alone from a training output folder.

    Args:
        model: from `modeling.build_pretraining_model` with the folder's config.
        output_dir: a training output folder.

    Returns:
        The step after which the newest checkpoint was saved.

    Raises:
        ValueError: there is no checkpoint, or it does not fit the model.
    """
    prefix = tf.train.latest_checkpoint(output_dir)
    if prefix is None:
        raise ValueError(
            f"{output_dir!r} holds no training checkpoint: name the --output_dir of a "
            "python -m bert_cn.run_pretraining that has saved one."
        )
    _restore(tf.train.Checkpoint(model=model), prefix, partial=True)
    return int(prefix.rsplit("-", 1)[1])


def _restore(
    checkpoint: tf.train.Checkpoint, prefix: str, partial: bool = False
) -> None:
    try:
        status = checkpoint.restore(prefix)
        if partial:
            # The file holds optimizer slots too; every weight asked for must be there.
            status.expect_partial()
        status.assert_existing_objects_matched()
    except (ValueError, AssertionError, tf.errors.OpError) as error:
        raise ValueError(
            f"Checkpoint {prefix!r} does not fit the model ({_first_line(error)}); use "
            "the bert_config.json beside it, or another --output_dir."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_description(
    output_dir: str,
    config: config_lib.BertConfig,
    vocabulary: vocab_lib.Vocabulary | None,
    do_lower_case: bool | None,
    manifests: tuple[manifest_lib.Manifest, ...],
) -> None:
    """Write the files that say what the checkpoints are.

    Args:
        output_dir: created if needed.
        config: the model's configuration.
        vocabulary: copied to vocab.txt if known.
        do_lower_case: whether the data stage lower-cased; None if unknown.
        manifests: of the training records; the first is copied to data_manifest.json.

    Raises:
        ValueError: the folder already holds a run with another configuration.
    """
    tf.io.gfile.makedirs(output_dir)
    _check_same_config(os.path.join(output_dir, CONFIG_FILE), config)
    _write_text(output_dir, CONFIG_FILE, config.to_json())
    if vocabulary is not None:
        with tf.io.gfile.GFile(vocabulary.path, "rb") as file:
            _write_text(output_dir, VOCAB_FILE, file.read().decode("utf-8"))
    if do_lower_case is not None:
        text = json.dumps({"do_lower_case": do_lower_case}) + "\n"
        _write_text(output_dir, TOKENIZER_CONFIG_FILE, text)
    if manifests:
        path = os.path.join(output_dir, MANIFEST_FILE)
        manifest_lib.write_manifest(dataclasses.replace(manifests[0], path=path))


def _check_same_config(path: str, config: config_lib.BertConfig) -> None:
    if not tf.io.gfile.exists(path):
        return
    there = config_lib.load_config(path)
    for name, value in vars(there).items():
        if value != getattr(config, name):
            raise ValueError(
                f"{path} says {name}={value}, but --bert_config_file says "
                f"{name}={getattr(config, name)}: this --output_dir belongs to another "
                "model, so name another one."
            )


def _write_text(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    with tf.io.gfile.GFile(path + ".tmp", "w") as file:
        file.write(text)
    tf.io.gfile.rename(path + ".tmp", path, overwrite=True)
