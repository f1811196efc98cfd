"""Padded batches of features: which examples go together, and how wide each batch is.

Sequences of similar length share a batch, and a batch is only as wide as its longest
sequence needs, rounded up to a multiple so that few shapes occur. If shapes must be
static (a TPU, XLA with one shape), every batch has the full width.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from bert_cn.finetuning import features as features_lib

# The examples of this many batches are sorted by length together: enough batches that
# little is wasted on padding, few enough that they differ from epoch to epoch.
_BATCHES_SORTED_TOGETHER = 50


@dataclasses.dataclass(frozen=True)
class Shape:
    """How batches are made.

    Attributes:
        batch_size: examples per batch over all replicas. The last batch is filled up
            with copies of its first example, whose weight is 0.
        max_seq_length: the widest batch, in tokens.
        width_multiple: widths are rounded up to a multiple of it; max_seq_length makes
            every batch equally wide.
    """

    batch_size: int
    max_seq_length: int
    width_multiple: int = 16

    def width(self, longest: int) -> int:
        """Return the width of a batch, from the tokens of its longest sequence."""
        multiple = self.width_multiple
        return min(-(-longest // multiple) * multiple, self.max_seq_length)

    def count_batches(self, examples: int) -> int:
        """Return the number of batches that hold this many examples."""
        return -(-examples // self.batch_size)


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch on the host.

    Attributes:
        examples: int64 [real examples], their numbers; the other rows of the batch are
            filling.
        arrays: what the model takes: for each prefix of the sequences `token_ids`,
            `segment_ids`, other token features and `padding_mask` (1 for tokens), int32
            [batch, width]; the columns [batch, ...]; `example_weight`, float32 [batch].
        per_token: the names of the arrays that have a width.
    """

    examples: np.ndarray
    arrays: dict[str, np.ndarray]
    per_token: frozenset[str]


def iterate_train_batches(
    features: features_lib.Features, shape: Shape, rng: np.random.Generator
) -> Iterator[Batch]:
    """Give every example once, in random order with similar lengths together.

    Args:
        features: the examples.
        shape: of the batches.
        rng: decides the order in this epoch.
    """
    order = rng.permutation(len(features))
    lengths = features.lengths[order]
    together = _BATCHES_SORTED_TOGETHER * shape.batch_size
    group = np.arange(len(order)) // together
    order = order[np.lexsort((lengths, group))]
    cuts = np.arange(shape.batch_size, len(order), shape.batch_size)
    parts = np.split(order, cuts)
    for index in rng.permutation(len(parts)):
        yield make_batch(features, parts[index], shape)


def iterate_eval_batches(
    features: features_lib.Features, shape: Shape
) -> Iterator[Batch]:
    """Give every example once, the longest first, so that memory runs out early."""
    order = np.argsort(-features.lengths, kind="stable")
    for start in range(0, len(order), shape.batch_size):
        yield make_batch(features, order[start : start + shape.batch_size], shape)


def make_batch(
    features: features_lib.Features, examples: np.ndarray, shape: Shape
) -> Batch:
    """Pad the sequences of some examples and fill the batch up."""
    filling = shape.batch_size - len(examples)
    rows = np.concatenate([examples, np.repeat(examples[:1], filling)])
    arrays = {name: array[rows] for name, array in features.columns.items()}
    every = features.sequences.values()
    longest = max(int((e.starts[rows + 1] - e.starts[rows]).max()) for e in every)
    width = shape.width(longest)
    padded = {
        prefix + name: array
        for prefix, each in features.sequences.items()
        for name, array in _pad(each, rows, width).items()
    }
    weights = np.ones(shape.batch_size, np.float32)
    weights[len(examples) :] = 0
    arrays[features_lib.WEIGHT] = weights
    return Batch(examples, arrays | padded, frozenset(padded))


def _pad(
    sequences: features_lib.Sequences, rows: np.ndarray, width: int
) -> dict[str, np.ndarray]:
    starts = sequences.starts[rows, None]
    places = np.arange(width)
    mask = places < sequences.starts[rows + 1, None] - starts
    sources = np.where(mask, starts + places, 0)
    arrays = {name: a[sources] * mask for name, a in sequences.tokens.items()}
    return {
        **{name: array.astype(np.int32) for name, array in arrays.items()},
        features_lib.PADDING_MASK: mask.astype(np.int32),
    }
