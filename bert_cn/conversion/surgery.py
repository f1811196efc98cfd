"""Change a checkpoint before it is trained further: its vocabulary, its layers."""

import dataclasses
import re
from collections.abc import Sequence

import keras
import numpy as np

from bert_cn.conversion import pretrained
from bert_cn.model import config as config_lib
from data_prep.text import vocab as vocab_lib

_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
_OUTPUT_BIAS = "cls/predictions/output_bias"
_LAYER = re.compile(r"(?<=^bert/encoder/layer_)\d+(?=/)")


def find_kept_rows(
    old: vocab_lib.Vocabulary, new: vocab_lib.Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Say which rows of an embedding table stay, and where.

    Returns:
        Ids in the new vocabulary and ids in the old one of the tokens that both have,
        int64 [number of such tokens] each.
    """
    kept = [
        (new.ids[token], old.ids[token]) for token in new.tokens if token in old.ids
    ]
    pairs = np.array(kept, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def resize_vocabulary(
    bert: pretrained.PretrainedBert,
    vocabulary: vocab_lib.Vocabulary,
    rng: np.random.Generator,
) -> pretrained.PretrainedBert:
    """Give a model another vocabulary, of any size.

    A token that both vocabularies have keeps its row of the word embeddings and its
    output bias, even if its id changes. A new token gets a row as the initializer draws
    it (a truncated normal of `config.initializer_range`) and the output bias 0. The
    training notes get a line about it.

    Args:
        bert: has a vocabulary; it is left as it is. Rows after the last token, with
            which some models are padded, are dropped.
        vocabulary: the new one.
        rng: decides the new rows.

    Returns:
        The changed model; all other weights are the same.

    Raises:
        ValueError: the model has no vocabulary, so that no row belongs to a token, or
            one with more tokens than rows.
    """
    if bert.vocabulary is None:
        raise ValueError(
            f"{bert.source} has no vocab.txt, so which row belongs to which token is "
            "unknown: put the vocabulary it was trained with beside it."
        )
    if len(bert.vocabulary) > bert.config.vocab_size:
        bert.check_vocabulary()  # Raises: only too few tokens can be padding.
    new_ids, old_ids = find_kept_rows(bert.vocabulary, vocabulary)
    config = dataclasses.replace(bert.config, vocab_size=len(vocabulary))
    table = _draw((config.vocab_size, config.hidden_size), config, rng)
    table[new_ids] = bert.weights[_WORD_EMBEDDINGS][old_ids]
    changed = {_WORD_EMBEDDINGS: table}
    if _OUTPUT_BIAS in bert.weights:
        bias = np.zeros(config.vocab_size, np.float32)
        bias[new_ids] = bert.weights[_OUTPUT_BIAS][old_ids]
        changed[_OUTPUT_BIAS] = bias
    note = (
        f"- Vocabulary replaced after that: {len(new_ids):,} of {len(vocabulary):,} "
        "tokens kept their rows, the others' are random."
    )
    return dataclasses.replace(
        bert,
        config=config,
        weights=bert.weights.replace(changed),
        vocabulary=vocabulary,
        training_notes=_add_note(bert.training_notes, note),
    )


def _draw(
    shape: tuple[int, ...], config: config_lib.BertConfig, rng: np.random.Generator
) -> np.ndarray:
    # The initializer of `pretraining_model`: a new row looks like one of a new model.
    initializer = keras.initializers.TruncatedNormal(
        stddev=config.initializer_range, seed=int(rng.integers(2**31))
    )
    return np.array(initializer(shape, "float32"))


def keep_layers(
    bert: pretrained.PretrainedBert, layers: Sequence[int]
) -> pretrained.PretrainedBert:
    """Keep some layers of the encoder, and everything else.

    Args:
        bert: is left as it is.
        layers: numbers of the layers to keep, from 0, ascending.

    Returns:
        The smaller model, its layers numbered from 0 again. The training notes get a
        line about it.

    Raises:
        ValueError: there is no such layer, or the numbers do not ascend.
    """
    count = bert.config.num_hidden_layers
    if not layers or not all(0 <= layer < count for layer in layers):
        raise ValueError(
            f"--keep_layers must name layers from 0 to {count - 1}, which are those of "
            f"{bert.source}. Received: {_join(layers) or 'none'}."
        )
    if list(layers) != sorted(set(layers)):
        raise ValueError(
            "--keep_layers must ascend, each layer once, such as 0,1,2. Received: "
            f"{_join(layers)}."
        )
    numbers = {str(old): str(new) for new, old in enumerate(layers)}
    names = {}
    for name in bert.weights:
        match = _LAYER.search(name)
        if match is None:
            names[name] = name
        elif match.group() in numbers:
            names[_LAYER.sub(numbers[match.group()], name)] = name
    note = f"- Layers kept after that: {_join(layers)} of {count}, counted from 0."
    return dataclasses.replace(
        bert,
        config=dataclasses.replace(bert.config, num_hidden_layers=len(layers)),
        weights=bert.weights.select(names),
        training_notes=_add_note(bert.training_notes, note),
    )


def _join(layers: Sequence[int]) -> str:
    return ",".join(map(str, layers))


def _add_note(notes: str, note: str) -> str:
    return f"{notes}\n{note}" if notes else note
