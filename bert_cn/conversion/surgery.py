"""Change a checkpoint before it is trained further: vocabulary, positions, layers."""

import dataclasses
import itertools
import re
from collections.abc import Sequence

import keras
import numpy as np

from bert_cn.conversion import pretrained, tokenizer_files
from bert_cn.model import config as config_lib
from data_prep.text import added_words, tokenization
from data_prep.text import vocab as vocab_lib

_WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
_POSITION_EMBEDDINGS = "bert/embeddings/position_embeddings"
_OUTPUT_BIAS = "cls/predictions/output_bias"
# Su's a, see `resize_positions`.
_SHARE_OF_BLOCK = 0.4
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
    output bias, even if its id changes. A new token starts as the mean of the rows and
    biases of the pieces that the old vocabulary cuts it into. Where those are unknown,
    it gets a row as the initializer draws it (a truncated normal of
    `config.initializer_range`) and the output bias 0. The training notes get a line
    about it.

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
    check_has_vocabulary(bert)
    if len(bert.vocabulary) > bert.config.vocab_size:
        bert.check_vocabulary()  # Raises: only too few tokens can be padding.
    new_ids, old_ids = find_kept_rows(bert.vocabulary, vocabulary)
    config = dataclasses.replace(bert.config, vocab_size=len(vocabulary))
    table = _draw((config.vocab_size, config.hidden_size), config, rng)
    changed = {_WORD_EMBEDDINGS: table}
    if _OUTPUT_BIAS in bert.weights:
        changed[_OUTPUT_BIAS] = np.zeros(config.vocab_size, np.float32)
    pieces = find_pieces(bert, vocabulary)
    for name, values in changed.items():
        old = bert.weights[name]
        values[new_ids] = old[old_ids]
        for index, piece_ids in pieces.items():
            values[index] = old[piece_ids].mean(0)
    drawn = len(vocabulary) - len(new_ids) - len(pieces)
    note = (
        f"- Vocabulary replaced after that: {len(new_ids):,} of {len(vocabulary):,} "
        f"tokens kept their rows, {len(pieces):,} began as the mean of their pieces', "
        f"{drawn:,} are random."
    )
    return dataclasses.replace(
        bert,
        config=config,
        weights=bert.weights.replace(changed),
        vocabulary=vocabulary,
        training_notes=_add_note(bert.training_notes, note),
    )


def add_words(
    bert: pretrained.PretrainedBert, words: Sequence[str]
) -> vocab_lib.Vocabulary:
    """Return a model's vocabulary with words added, for `resize_vocabulary`.

    Raises:
        ValueError: the model has no vocabulary or not one for each of its rows, or the
            words cannot be added, see `added_words.extend_vocabulary`.
    """
    check_has_vocabulary(bert)
    bert.check_vocabulary()
    return added_words.extend_vocabulary(bert.vocabulary, words)


def find_pieces(
    bert: pretrained.PretrainedBert, vocabulary: vocab_lib.Vocabulary
) -> dict[int, np.ndarray]:
    """Cut the new tokens of a vocabulary into those of a model's own.

    Args:
        bert: has a vocabulary.
        vocabulary: the new one.

    Returns:
        Id of a new token -> old ids of its pieces, for each new token that is a word
        and whose pieces are known.
    """
    old = bert.vocabulary
    words = [
        token
        for token in vocabulary.tokens
        if token not in old.ids and not token.startswith(("##", "["))
    ]
    lower_case = tokenizer_files.lower_case(bert)
    lines = tokenization.Tokenizer(old, lower_case).tokenize(words)
    found = {}
    for word, (start, end) in zip(
        words, itertools.pairwise(lines.line_starts), strict=True
    ):
        ids = lines.ids[start:end]
        if len(ids) and old.unk_id not in ids:
            found[vocabulary.ids[word]] = ids
    return found


def resize_positions(
    bert: pretrained.PretrainedBert, num_positions: int
) -> pretrained.PretrainedBert:
    """Give a model more positions, by hierarchical decomposition (Su, 2020).

    Position i * n + j of a model of n positions gets a u_i + (1 - a) u_j, where
    u_i = (p_i - a p_0) / (1 - a), p_i is the learned position i and a = 0.4
    (https://kexue.fm/archives/7947). The first n are unchanged, since i is 0 there.

    Args:
        bert: is left as it is.
        num_positions: n at least, n squared at most.

    Returns:
        The changed model; all other weights are the same. The training notes get a line
        about it.

    Raises:
        ValueError: `num_positions` is out of those bounds.
    """
    old = bert.config.max_position_embeddings
    if not old <= num_positions <= old * old:
        raise ValueError(
            f"--resize_positions={num_positions}: {bert.source} has {old} positions, "
            f"which can become {old} to {old * old}."
        )
    learned = bert.weights[_POSITION_EMBEDDINGS][...]
    bases = (learned - _SHARE_OF_BLOCK * learned[0]) / (1 - _SHARE_OF_BLOCK)
    block, place = np.divmod(np.arange(num_positions), old)
    table = _SHARE_OF_BLOCK * bases[block] + (1 - _SHARE_OF_BLOCK) * bases[place]
    table[:old] = learned  # To the last bit.
    note = (
        f"- Positions extended after that from {old} to {num_positions} by "
        "hierarchical decomposition."
    )
    return dataclasses.replace(
        bert,
        config=dataclasses.replace(bert.config, max_position_embeddings=num_positions),
        weights=bert.weights.replace({_POSITION_EMBEDDINGS: table}),
        training_notes=_add_note(bert.training_notes, note),
    )


def check_has_vocabulary(bert: pretrained.PretrainedBert) -> None:
    """Raise ValueError if a model has no vocabulary."""
    if bert.vocabulary is None:
        raise ValueError(
            f"{bert.source} has no vocab.txt, so which row belongs to which token is "
            "unknown: put the vocabulary it was trained with beside it."
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
