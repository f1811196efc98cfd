"""How tokens relate to each other in a model, for a student to learn from its teacher.

Relations are numbers between tokens, so that teacher and student may differ in width.
A softmax over scaled dot products is the relation of MiniLM and MiniLMv2 (Wang et al.,
2020, arXiv:2002.10957 and arXiv:2012.15828), who take queries, keys and values; here
they are of the last layer's output.
"""

import tensorflow as tf

from data_prep.records import schema

# Added to the scores of tokens that a token does not see, as in the encoder.
_HIDDEN_SCORE = -1e9


def sum_relation_losses(
    student: tf.Tensor, teacher: tf.Tensor, features: dict, num_heads: int
) -> tf.Tensor:
    """Add up the divergences of the student's relations from the teacher's.

    Args:
        student: [batch, length, hidden], a model's `sequence_output`.
        teacher: [batch, length, its hidden], the teacher's; it gets no gradient.
        features: the batch, see `schema`. Tokens relate to their own sequence alone.
        num_heads: relations that each token has, a divisor of both widths.

    Returns:
        A float32 scalar: KL(teacher || student) in nats, a mean over heads and a sum
        over all tokens that are no padding.
    """
    in_use = tf.cast(features[schema.INPUT_MASK], tf.float32)  # [b, l]
    parts = features.get(schema.PART_IDS, features[schema.INPUT_MASK])
    hidden = parts[:, :, tf.newaxis] != parts[:, tf.newaxis, :]  # [b, l, m]
    mask = tf.cast(hidden, tf.float32)[:, tf.newaxis] * _HIDDEN_SCORE
    expected = tf.nn.softmax(
        _score(tf.stop_gradient(teacher), num_heads) + mask
    )  # [b, h, l, m]
    scores = _score(student, num_heads) + mask
    # KL is the cross entropy less the teacher's own entropy, which has no gradient.
    cross_entropy = tf.nn.softmax_cross_entropy_with_logits(expected, scores)
    entropy = -tf.reduce_sum(tf.math.xlogy(expected, expected), -1)
    losses = tf.reduce_mean(cross_entropy - entropy, 1)  # [b, l]
    return tf.reduce_sum(losses * in_use)


def count_tokens(features: dict) -> tf.Tensor:
    """Return the number of tokens that are no padding, a float32 scalar."""
    return tf.reduce_sum(tf.cast(features[schema.INPUT_MASK], tf.float32))


def _score(hidden: tf.Tensor, num_heads: int) -> tf.Tensor:
    """Return scaled dot products of tokens, float32 [batch, heads, length, length]."""
    batch, length = tf.unstack(tf.shape(hidden)[:2])
    size = hidden.shape[-1] // num_heads
    heads = tf.reshape(hidden, (batch, length, num_heads, size))
    heads = tf.transpose(heads, (0, 2, 1, 3))  # [b, h, l, size]
    products = tf.matmul(heads, heads, transpose_b=True)
    return tf.cast(products, tf.float32) * size**-0.5
