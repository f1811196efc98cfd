"""Dropout whose mask is a hash of each entry's number and a seed.

Srivastava et al., 2014 (https://jmlr.org/papers/v15/srivastava14a.html). TensorFlow's
generators write their random numbers to memory, to be read again where they are used. A
hash of the entry's own number is computed where it is used: XLA fuses it, nothing is
written, and the mask is the same on every kind of device.
"""

import keras
import tensorflow as tf

# The finalizer of MurmurHash3 (Austin Appleby, public domain,
# https://github.com/aappleby/smhasher), and 2^32 divided by the golden ratio.
_MULTIPLIERS = (0x85EBCA6B, 0xC2B2AE35)
_SHIFTS = (16, 13, 16)
_GOLDEN = 0x9E3779B1


def next_seed(generator: keras.random.SeedGenerator, uses: int = 1) -> tf.Tensor:
    """Return a seed, int32 [2], that differs between calls and between replicas.

    Args:
        generator: counts the calls.
        uses: the number of masks that one call needs. Their seeds are the returned
            seed + [0, 0], + [0, 1], ..., + [0, uses - 1]; no other call has any of
            them.
    """
    seed, count = tf.unstack(tf.cast(generator.next(), tf.int32))  # Two scalars.
    replicas = tf.distribute.get_replica_context()
    if replicas is not None and replicas.num_replicas_in_sync > 1:
        # The generator's state is mirrored: without this, all replicas drop the same.
        seed += tf.cast(replicas.replica_id_in_sync_group, tf.int32)
    return tf.stack([seed, count * uses])  # [2]


def draw_mask(x: tf.Tensor, seed: tf.Tensor | None, rate: float) -> tf.Tensor | None:
    """Return which entries of x are kept: bool, of its shape, true at 1 - rate.

    Args:
        x: any tensor; only its shape matters; fewer than 2^32 entries.
        seed: integer tensor [2], another seed gives another mask; or None, then nothing
            is dropped and the mask is None.
        rate: the probability that an entry is dropped, below 1.
    """
    if seed is None:
        return None
    first, second = tf.unstack(tf.bitcast(tf.cast(seed, tf.int32), tf.uint32))
    # Neighbouring seeds must not give masks that are shifted copies of each other.
    key = _mix(_mix(first * _uint32(_GOLDEN)) ^ second)
    bits = _mix(_number_entries(x) + key, last_shift=False)  # Like x, uint32.
    return bits >= _uint32(round(rate * 2**32))


def apply_mask(x: tf.Tensor, keeps: tf.Tensor | None, rate: float) -> tf.Tensor:
    """Return x / (1 - rate) where it is kept, else 0; x itself if `keeps` is None."""
    if keeps is None:
        return x
    scale = tf.cast(1.0 / (1.0 - rate), x.dtype)
    return tf.where(keeps, x * scale, tf.zeros_like(x))


def _uint32(number: int) -> tf.Tensor:
    return tf.constant(number, tf.uint32)


def _mix(bits, last_shift: bool = True):
    """Spread every bit over all others; without the last shift, over the upper half."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        bits = _shift_and_xor(bits, shift) * _uint32(multiplier)
    return _shift_and_xor(bits, _SHIFTS[-1]) if last_shift else bits


def _shift_and_xor(bits, shift: int):
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, _uint32(shift)))


def _number_entries(x):
    """Return 0, 1, 2, ... in the shape of x, uint32."""
    sizes = x.shape if x.shape.is_fully_defined() else tf.unstack(tf.shape(x))
    numbers, stride = _uint32(0), _uint32(1)
    for axis in reversed(range(x.shape.rank)):
        index = tf.cast(tf.range(sizes[axis]), tf.uint32) * stride  # [sizes[axis]]
        ones_after = [1] * (x.shape.rank - 1 - axis)
        index = tf.reshape(index, [-1, *ones_after])  # [sizes[axis], 1, ..., 1]
        numbers += index  # [sizes[axis], ..., sizes[-1]]
        stride *= tf.cast(sizes[axis], tf.uint32)
    return numbers
