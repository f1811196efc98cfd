"""What training starts from: its own checkpoint, or one that somebody published."""

import dataclasses
import os

import keras
import numpy as np

from bert_cn.conversion import (
    formats,
    keras_weights,
    pretrained,
    surgery,
    weight_map,
)
from bert_cn.model import config as config_lib
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.training import run_files
from data_prep.text import vocab as vocab_lib

# Settings that training may choose anew; any other difference makes another function.
_FREE_SETTINGS = frozenset(
    {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"}
)
_RESIZE_ADVICE = {"vocab_size": ", or pass --resize_embeddings."}


def choose_config(
    config_file: str,
    output_dir: str,
    init_checkpoint: str,
    any_vocabulary: bool = False,
) -> config_lib.BertConfig:
    """Return the model's configuration, the first of these that there is.

    1. `config_file`, if it is not "".
    2. That of the checkpoints in `output_dir`: the run goes on or is evaluated.
    3. That of `init_checkpoint`, so that a checkpoint is trained on as what it is: the
       published ones differ in their activation, which no size tells. Its vocabulary
       may have another size than the model if `any_vocabulary`.

    Raises:
        ValueError: there is none of them, or it cannot be read.
    """
    if config_file:
        return config_lib.load_config(config_file)
    if run_files.find_prefixes(output_dir):
        path = os.path.join(output_dir, run_files.CONFIG_FILE)
        return config_lib.load_config(path)
    if init_checkpoint:
        options = pretrained.ReadOptions(any_vocabulary=any_vocabulary)
        return formats.read_checkpoint(init_checkpoint, options=options).config
    raise ValueError(
        "--bert_config_file is empty: name a bert_config.json, such as "
        "configs/models/bert_tiny_cn.json, or an --init_checkpoint, whose own is taken."
    )


def load_weights(
    model: keras.Model,
    config: config_lib.BertConfig,
    vocabulary: vocab_lib.Vocabulary | None,
    checkpoints: checkpoints_lib.TrainingCheckpoints,
    init_checkpoint: str,
    resize_rng: np.random.Generator | None = None,
    config_file: str = "",
) -> bool:
    """Load what a run starts from, say what it was, in this order of preference.

    1. The newest checkpoint of the run: it was interrupted and goes on.
    2. `init_checkpoint`, if it is not "".
    3. Nothing: what the initializer drew stays.

    Args:
        model: from `pretraining_model.build_pretraining_model(config)`.
        config: of the model.
        vocabulary: of the training records, if known.
        checkpoints: of the run.
        init_checkpoint: see `load_init_checkpoint`.
        resize_rng: see `load_init_checkpoint`.
        config_file: see `load_init_checkpoint`.

    Returns:
        Whether something was loaded.
    """
    step = checkpoints.restore_latest()
    if checkpoints.latest:
        print(f"Restored {checkpoints.latest} (step {step}).")
        return True
    if not init_checkpoint:
        return False
    missing = load_init_checkpoint(
        model, config, vocabulary, init_checkpoint, resize_rng, config_file
    )
    fresh = f" Drawn anew: {', '.join(missing)}." if missing else ""
    print(f"Started from {init_checkpoint}.{fresh}")
    return True


def load_init_checkpoint(
    model: keras.Model,
    config: config_lib.BertConfig,
    vocabulary: vocab_lib.Vocabulary | None,
    path: str,
    resize_rng: np.random.Generator | None = None,
    config_file: str = "",
) -> tuple[weight_map.Part, ...]:
    """Put the weights of a checkpoint into a model, as far as it has them.

    Args:
        model: from `pretraining_model.build_pretraining_model(config)`.
        config: of the model.
        vocabulary: of the training records, if known.
        path: anything that convert_checkpoint reads.
        resize_rng: given if the checkpoint may have another vocabulary: tokens of both
            keep their rows, it draws the rows of new ones as the initializer does.
        config_file: the bert_config.json of a TF1 or Model Garden checkpoint that has
            none beside it, as in the folders of Google's own training; or "".

    Returns:
        The parts (heads, for example) that the checkpoint lacks, which keep what the
        initializer drew.

    Raises:
        ValueError: there is no checkpoint, or its configuration or vocabulary differs.
    """
    options = pretrained.ReadOptions(
        fallback_config_file=config_file, any_vocabulary=resize_rng is not None
    )
    bert = formats.read_checkpoint(path, options=options)
    if resize_rng is not None:
        bert = _resize(bert, vocabulary, resize_rng)
    _check_config(bert, config, path)
    if vocabulary is not None and bert.vocabulary is not None:
        _check_vocabulary(bert.vocabulary, vocabulary, path)
    keras_weights.assign_to_model(model, bert.weights, bert.parts)
    return tuple(part for part in weight_map.ALL_PARTS if part not in bert.parts)


def _resize(
    bert: pretrained.PretrainedBert,
    vocabulary: vocab_lib.Vocabulary | None,
    rng: np.random.Generator,
) -> pretrained.PretrainedBert:
    if vocabulary is None:
        raise ValueError(
            "--resize_embeddings needs the vocabulary of the records: name it by "
            "--vocab_file."
        )
    old = bert.vocabulary
    resized = surgery.resize_vocabulary(bert, vocabulary, rng)
    rows = bert.config.vocab_size
    if rows != len(vocabulary) or old.tokens != vocabulary.tokens:
        new = len(set(vocabulary.tokens) - set(old.tokens))
        print(
            f"Embeddings resized from {rows} to {len(vocabulary)} rows: {new} new ones "
            f"drawn, {len(vocabulary) - new} kept."
        )
    return resized


def _check_config(
    bert: pretrained.PretrainedBert, config: config_lib.BertConfig, path: str
) -> None:
    for field in dataclasses.fields(config):
        there = getattr(bert.config, field.name)
        here = getattr(config, field.name)
        if there != here and field.name not in _FREE_SETTINGS:
            raise ValueError(
                f"--init_checkpoint={path} has {field.name}={there}, but "
                f"--bert_config_file says {here}: leave the flag out to take the "
                f"checkpoint's own{_RESIZE_ADVICE.get(field.name, '.')}"
            )


def _check_vocabulary(
    there: vocab_lib.Vocabulary, here: vocab_lib.Vocabulary, path: str
) -> None:
    for index, (old, new) in enumerate(zip(there.tokens, here.tokens, strict=True)):
        if old != new:
            raise ValueError(
                f"--init_checkpoint={path} was trained with another vocabulary: id "
                f"{index} is {old!r} there and {new!r} in the records. Make the "
                "records with the checkpoint's vocab.txt, or pass --resize_embeddings."
            )
