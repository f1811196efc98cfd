"""Start training from a checkpoint that somebody published."""

import dataclasses

import keras

from bert_cn import config as config_lib
from bert_cn.conversion import formats, keras_weights, pretrained, weight_map
from data_prep import vocab as vocab_lib

# Settings that training may choose anew; any other difference makes another function.
_FREE_SETTINGS = frozenset(
    {"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"}
)


def load_init_checkpoint(
    model: keras.Model,
    config: config_lib.BertConfig,
    vocabulary: vocab_lib.Vocabulary | None,
    path: str,
) -> tuple[weight_map.Part, ...]:
    """Put the weights of a checkpoint into a model, as far as it has them.

    Args:
        model: from `modeling.build_pretraining_model(config)`.
        config: of the model.
        vocabulary: of the training records, if known.
        path: anything that convert_checkpoint reads.

    Returns:
        The parts (heads, for example) that the checkpoint lacks, which keep what the
        initializer drew.

    Raises:
        ValueError: there is no checkpoint, or its configuration or vocabulary differs.
    """
    bert = formats.read_checkpoint(path)
    _check_config(bert, config, path)
    if vocabulary is not None and bert.vocabulary is not None:
        _check_vocabulary(bert.vocabulary, vocabulary, path)
    keras_weights.assign_to_model(model, bert.weights, bert.parts)
    return tuple(part for part in weight_map.ALL_PARTS if part not in bert.parts)


def _check_config(
    bert: pretrained.PretrainedBert, config: config_lib.BertConfig, path: str
) -> None:
    for field in dataclasses.fields(config):
        there = getattr(bert.config, field.name)
        here = getattr(config, field.name)
        if there != here and field.name not in _FREE_SETTINGS:
            raise ValueError(
                f"--init_checkpoint={path} has {field.name}={there}, but "
                f"--bert_config_file says {here}: use the configuration that belongs "
                "to the checkpoint."
            )


def _check_vocabulary(
    there: vocab_lib.Vocabulary, here: vocab_lib.Vocabulary, path: str
) -> None:
    for index, (old, new) in enumerate(zip(there.tokens, here.tokens, strict=True)):
        if old != new:
            raise ValueError(
                f"--init_checkpoint={path} was trained with another vocabulary: id "
                f"{index} is {old!r} there and {new!r} in the records. Make the "
                "records with the checkpoint's vocab.txt."
            )
