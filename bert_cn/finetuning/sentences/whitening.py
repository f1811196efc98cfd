"""Whitening: embeddings without a common part, whose dimensions are uncorrelated."""

from collections.abc import Sequence

import numpy as np

from bert_cn.conversion import pretrained
from bert_cn.finetuning import batches, training, warm_start
from bert_cn.finetuning.sentences import encoding
from bert_cn.finetuning.sentences import model as sentences_model

# Directions with less than this share of the largest variance are noise of float32:
# the LayerNorm of the last layer leaves one direction without any.
_SMALLEST_VARIANCE = 1e-6


def fit(embeddings: np.ndarray, dimensions: int = 0) -> pretrained.Projection:
    """Return the dense layer that whitens embeddings.

    Su et al., 2021, "Whitening Sentence Representations for Better Semantics and Faster
    Retrieval" (https://arxiv.org/abs/2103.15316), algorithm 1: (x - mean) U / sqrt(S),
    with the covariance U S U^T. Directions without variance are left out.

    Args:
        embeddings: float32 [sentences, hidden].
        dimensions: how many directions are kept, those of the largest variance; 0 for
            all.

    Returns:
        float32 [hidden, dimensions] and [dimensions].

    Raises:
        ValueError: there are fewer sentences than two, or they are all alike.
    """
    values = embeddings.astype(np.float64)
    mean = values.mean(axis=0)
    directions, variances, _ = np.linalg.svd(np.cov(values, rowvar=False, bias=True))
    kept = variances > max(variances[0] * _SMALLEST_VARIANCE, np.finfo(np.float32).tiny)
    if len(values) < 2 or not kept.any():
        raise ValueError(
            f"--whitening is fitted to {len(values)} sentence(s) that are all alike: "
            "name training sentences that differ."
        )
    count = min(int(kept.sum()), dimensions or len(variances))
    kernel = directions[:, :count] / np.sqrt(variances[:count])
    bias = -mean @ kernel
    return pretrained.Projection(kernel.astype(np.float32), bias.astype(np.float32))


def whiten(
    trainer: training.Trainer,
    model: sentences_model.SentenceEncoder,
    start: warm_start.StartingPoint,
    shape: batches.Shape,
    sentences: Sequence[str],
    dimensions: int,
) -> None:
    """Fit whitening to sentences, and put it after the pooling of a model.

    Args:
        trainer: measures the model.
        model: is changed.
        start: what it was built from.
        shape: of the batches that are encoded.
        sentences: what it is fitted to.
        dimensions: see `fit`.

    Raises:
        ValueError: see `fit`.
    """
    encoder = encoding.Encoder(
        model, start, shape, pools_only=True, strategy=trainer.strategy
    )
    embeddings = encoder.encode(sentences, "The training sentences", "Whitening")
    projection = fit(embeddings, dimensions)
    model.project(projection)
    trainer.retrace()
    print(
        f"Whitened {embeddings.shape[1]} to {len(projection.bias)} dimensions.",
        flush=True,
    )
