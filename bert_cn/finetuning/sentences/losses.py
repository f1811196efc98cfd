"""Losses of sentence embeddings, as functions of the embeddings alone.

Each equals the loss of sentence-transformers' class that its docstring names.
"""

import tensorflow as tf

# The score of what is no candidate: its share is 0 in float32.
NEVER = -1e9


def normalize(embeddings: tf.Tensor) -> tf.Tensor:
    """Give embeddings, float32 [rows, hidden], length 1."""
    return tf.math.l2_normalize(embeddings, axis=1)


def cosine(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the cosine of each pair of rows, float32 [rows]."""
    return tf.reduce_sum(normalize(first) * normalize(second), axis=1)


def angle(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return how alike the angles of two complex vectors are, for AnglE.

    Li and Li, 2023, "AnglE-optimized Text Embeddings"
    (https://arxiv.org/abs/2309.12871), section 3.3, in the order of subtraction of the
    authors' code and of sentence-transformers' `pairwise_angle_sim`: the first half of
    an embedding is the real part, the second the imaginary one.

    Args:
        first: float32 [rows, hidden]; an odd `hidden` gets a 0 at its end.
        second: the same shape.

    Returns:
        float32 [rows], |cosine + sine|.
    """
    first, second = normalize(first), normalize(second)
    padding = [[0, 0], [0, first.shape[1] % 2]]
    first, second = tf.pad(first, padding), tf.pad(second, padding)
    real, imaginary = tf.split(first, 2, axis=1)  # [rows, hidden / 2] each
    other_real, other_imaginary = tf.split(second, 2, axis=1)
    products = (
        first * second,
        tf.concat([imaginary * other_real, -real * other_imaginary], axis=1),
    )
    return tf.abs(tf.reduce_sum(tf.add_n(products), axis=1))


def order(
    similarities: tf.Tensor, scores: tf.Tensor, weights: tf.Tensor, scale: float
) -> tf.Tensor:
    """Return the loss of pairs whose similarities are not in the order of their scores.

    log(1 + sum exp(scale * (s_j - s_i))) over all i and j whose scores say that i is
    more alike than j. Su, 2022, "CoSENT" (https://kexue.fm/archives/8847); of
    sentence-transformers CoSENTLoss, and with `angle` AnglELoss.

    Args:
        similarities: float32 [pairs].
        scores: float32 [pairs]; only their order matters.
        weights: float32 [pairs]; pairs of weight 0 do not count.
        scale: the inverse of the temperature.

    Returns:
        float32, one number; 0 if all scores are equal.
    """
    counts = weights > 0
    is_wanted = (scores[:, None] > scores[None, :]) & counts[:, None] & counts[None, :]
    gaps = scale * (similarities[None, :] - similarities[:, None])
    terms = tf.reshape(tf.where(is_wanted, gaps, NEVER), [-1])
    return tf.reduce_logsumexp(tf.concat([[0.0], terms], axis=0))


def rank(
    first: tf.Tensor,
    candidates: tf.Tensor,
    own: tf.Tensor,
    is_candidate: tf.Tensor,
    scale: float,
) -> tf.Tensor:
    """Return the cross entropy of finding each row's own candidate by scaled cosines.

    Of sentence-transformers MultipleNegativesRankingLoss, with all candidates.

    Args:
        first: float32 [rows, hidden].
        candidates: float32 [candidates, hidden].
        own: int32 [rows], the index of each row's right candidate.
        is_candidate: bool [rows, candidates]; true for the own one.
        scale: the inverse of the temperature.

    Returns:
        float32 [rows].
    """
    cosines = tf.matmul(normalize(first), normalize(candidates), transpose_b=True)
    logits = tf.where(is_candidate, scale * cosines, NEVER)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)
