"""Initial weights from which a small BERT learns at once.

BERT's own start draws everything with a standard deviation of 0.02. A small model then
spends thousands of steps on a plateau: it answers with the most frequent token and
copies the tokens that masking left unchanged, because no attention head looks at the
neighbors of a masked position yet. The functions here replace values, never shapes:
what comes out is a plain BERT.
"""

import keras
import numpy as np

from bert_cn.model import config as config_lib

# The score of the key that a head looks at; the others' is about 0. With heads of size
# 64 it gets 0.8 of the attention among 128 tokens and 0.6 among 512.
_LOOK_SCORE = 8.0
# How far an excluded token's bias lies below all others: 20,000 such tokens get less
# than 1e-8 of the probability.
_EXCLUDED = 30.0
# Deviation of a standard normal distribution that is cut off at 2 and -2.
_TRUNCATED_DEVIATION = 0.8796
# What is left of the drawn query and key kernels.
_DRAWN_SHARE = 0.3


def set_output_bias(head: keras.layers.Layer, token_counts: np.ndarray) -> None:
    """Set the output bias to the log frequency of each token.

    Without it the first steps teach a model these frequencies and nothing else: the
    encoder's outputs at all masked positions become one vector (see docs/learning.md).

    Args:
        head: `pretraining_model.MaskedLmHead`, built.
        token_counts: [vocabulary], how often each token stands in the training text;
            a token that never does counts as half a time.
    """
    counts = np.maximum(token_counts, 0.5)
    head.bias.assign(np.log(counts / counts.sum()))


def exclude_outputs(head: keras.layers.Layer, output_ids: np.ndarray) -> None:
    """Give all tokens but some so low an output bias that none is ever predicted.

    Args:
        head: `pretraining_model.MaskedLmHead`, built.
        output_ids: int [outputs], the tokens that are not changed.
    """
    bias = head.bias.numpy()
    others = np.ones(len(bias), bool)
    others[output_ids] = False
    bias[others] = bias[output_ids].min() - _EXCLUDED
    head.bias.assign(bias)


def include_outputs(head: keras.layers.Layer, output_ids: np.ndarray) -> int:
    """Let tokens be predicted again that an earlier run excluded.

    Their output bias becomes the lowest of those that were not excluded; Adam's steps
    would need as many updates as the bias is low.

    Args:
        head: `pretraining_model.MaskedLmHead`, built.
        output_ids: int [outputs], the tokens that training asks for.

    Returns:
        How many of them were excluded.
    """
    bias = head.bias.numpy()
    values = np.sort(bias)
    gaps = np.diff(values)
    place = int(np.argmax(gaps)) if len(gaps) else 0
    if not len(gaps) or gaps[place] < _EXCLUDED / 2:
        return 0
    lowest = values[place + 1]
    excluded = output_ids[bias[output_ids] < lowest]
    bias[excluded] = lowest
    head.bias.assign(bias)
    return len(excluded)


def scale_kernels(model: keras.Model, config: config_lib.BertConfig) -> None:
    """Give every kernel the standard deviation 1/sqrt(fan-in) (LeCun et al., 1998).

    The pooler's too where it is not trained, since fine-tuning begins with it.
    """
    for variable in model.weights:
        if variable.name == "kernel":
            is_output = "attention_output" in variable.path
            fan_in = np.prod(variable.shape[:-1]) if is_output else variable.shape[0]
            drawn = config.initializer_range * _TRUNCATED_DEVIATION
            variable.assign(variable / (np.sqrt(fan_in) * drawn))


def scale_embeddings(encoder: keras.Model, factor: float) -> None:
    """Multiply the tables of tokens, positions and segments."""
    for variable in encoder.trainable_variables:
        if variable.name in ("embeddings", "position_embeddings"):
            variable.assign(variable * factor)


def attend_to_neighbors(
    encoder: keras.Model, rng: np.random.Generator, deviation: float
) -> None:
    """Let each head begin by looking at the token next to it, or next but one.

    Positions become sinusoids whose frequencies lie evenly between 0 and pi, so that
    the product of two positions is large where they are equal and about 0 elsewhere.
    A rotation of a position's sinusoids moves it, so that a query rotated by one meets
    the key of the position before or after: head 0 looks one to the left, head 1 one to
    the right, head 2 two to the left and so on. Like mimetic initialization (Trockman
    and Kolter, 2023, https://arxiv.org/abs/2305.09828) it gives queries and keys the
    product that training would bring about.

    Args:
        encoder: `encoder.BertEncoder`, its kernels drawn.
        rng: draws the frequencies.
        deviation: standard deviation of the position embeddings.
    """
    positions = encoder.position_embedding.position_embeddings
    length, width = positions.shape
    pairs = width // 2
    frequencies = np.pi * (np.arange(pairs) + rng.uniform(size=pairs)) / pairs
    angles = np.arange(length)[:, np.newaxis] * frequencies
    table = np.stack([np.sin(angles), np.cos(angles)], axis=-1)  # [length, pairs, 2]
    table = table.reshape(length, -1) * np.sqrt(2) * deviation
    positions.assign(np.pad(table, ((0, 0), (0, width - table.shape[1]))))
    for layer in encoder.transformer_layers:
        attention = layer._self_attention_layer
        kernels = attention._query_dense.kernel, attention._key_dense.kernel
        looks = _build_looks(frequencies, kernels[0].shape)
        for kernel, look in zip(kernels, looks, strict=True):
            kernel.assign(_DRAWN_SHARE * kernel.numpy() + look)


def _build_looks(frequencies: np.ndarray, shape: tuple[int, int, int]):
    """Return query and key kernels, [hidden, heads, size], of heads that look aside."""
    _, heads, size = shape
    # After LayerNorm half of the variance is the position's, so that the product of a
    # head's size / 2 sinusoids of equal positions is size / 2.
    length = np.sqrt(_LOOK_SCORE * np.sqrt(size) / (size / 2))
    query, key = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for head in range(heads):
        distance = (head // 2 + 1) * (-1 if head % 2 == 0 else 1)
        # Each head has its share of all frequencies.
        for place, pair in enumerate(range(head, len(frequencies), heads)):
            sin, cos, column = 2 * pair, 2 * pair + 1, 2 * place
            if column + 1 >= size:
                break
            key[sin, head, column] = key[cos, head, column + 1] = 1.0
            turn = distance * frequencies[pair]
            query[sin, head, column] = np.cos(turn)
            query[cos, head, column] = np.sin(turn)
            query[sin, head, column + 1] = -np.sin(turn)
            query[cos, head, column + 1] = np.cos(turn)
    return length * query, length * key
