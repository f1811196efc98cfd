"""Gradients of a loss that compares more texts than memory holds the states of.

Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup" (https://arxiv.org/abs/2101.06983), GradCache: embed the batch in parts and keep
the embeddings alone, take the loss's gradients with respect to them, then embed each
part again and take the model's gradients from those. The result is that of the whole
batch at once; the price is a second forward pass. Of sentence-transformers
CachedMultipleNegativesRankingLoss.
"""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


def differentiate(
    embed: Callable[[dict[str, tf.Tensor]], tf.Tensor],
    compute_loss: Callable[[tf.Tensor], tf.Tensor],
    batch: dict[str, tf.Tensor],
    model: keras.Model,
    variables: Sequence[keras.Variable],
    mini_batch_size: int,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Return a loss and its gradients.

    Args:
        embed: some rows of the batch -> float32 [rows, texts, hidden], dropout on.
        compute_loss: those of all rows -> float32, one number.
        batch: name -> [rows, ...], what `embed` reads.
        model: that `embed` calls; the second pass draws the dropout of the first one.
        variables: that the gradients are wanted of.
        mini_batch_size: rows that are embedded at a time.

    Raises:
        ValueError: the rows are not a multiple of `mini_batch_size`.
    """
    rows = next(iter(batch.values())).shape[0]
    if rows % mini_batch_size:
        raise ValueError(
            f"A device has {rows} rows of a batch, which is no multiple of "
            f"--mini_batch_size={mini_batch_size}: change it, or --train_batch_size."
        )
    num_parts = rows // mini_batch_size

    def take(part: tf.Tensor) -> dict[str, tf.Tensor]:
        first = part * mini_batch_size
        return {k: v[first : first + mini_batch_size] for k, v in batch.items()}

    seeds = _list_seeds(model)
    before = [tf.identity(seed.value) for seed in seeds]
    embeddings = tf.map_fn(
        lambda part: embed(take(part)),
        tf.range(num_parts),
        fn_output_signature=tf.float32,
        parallel_iterations=1,
    )
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        loss = compute_loss(tf.reshape(embeddings, [rows, *embeddings.shape[2:]]))
    upstream = tape.gradient(loss, embeddings)
    for seed, value in zip(seeds, before, strict=True):
        seed.assign(value)

    gradients = _sum_gradients(lambda part: embed(take(part)), upstream, variables)
    return loss, gradients


def _sum_gradients(
    embed_part: Callable[[tf.Tensor], tf.Tensor],
    upstream: tf.Tensor,
    variables: Sequence[keras.Variable],
) -> list[tf.Tensor]:
    """Add up the gradients of all parts, one part in memory at a time.

    Args:
        embed_part: number of a part -> its embeddings.
        upstream: float32 [parts, ...], the loss's gradients by the embeddings.
        variables: that the gradients are wanted of.
    """

    def add_part(part: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            embeddings = embed_part(part)
        gradients = tape.gradient(
            embeddings,
            [variable.value for variable in variables],
            output_gradients=upstream[part],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        added = (total + g for total, g in zip(sums, gradients, strict=True))
        return part + 1, *added

    zeros = [tf.zeros(variable.shape, variable.dtype) for variable in variables]
    _, *gradients = tf.while_loop(
        lambda part, *_: part < upstream.shape[0],
        add_part,
        [tf.constant(0), *zeros],
        parallel_iterations=1,
    )
    return gradients


def _list_seeds(model: keras.Model) -> list[keras.Variable]:
    """Return the states of the model's random generators: no weights, but variables."""
    weights = {id(weight) for weight in model.weights}
    return [v for v in model.variables if id(v) not in weights]
