"""Read the records of `compact`, in TensorFlow graph ops alone."""

import tensorflow as tf

from data_prep.records import compact, schema

_SPEC = {schema.SEQUENCES: tf.io.FixedLenFeature((), tf.string)}


def parse(
    records: tf.Tensor, max_seq_length: int, vocab_size: int, pack_sequences: int = 1
) -> dict[str, tf.Tensor]:
    """Parse a batch of records.

    Args:
        records: string [batch], serialized.
        max_seq_length: tokens of a row.
        vocab_size: number of tokens.
        pack_sequences: parts of a row, at most.

    Returns:
        `schema.DYNAMIC_FEATURES`, int32: [batch, max_seq_length], and
        next_sentence_labels [batch, pack_sequences]. If there may be several parts,
        `schema.PART_FEATURES`, too.

    Raises:
        tf.errors.InvalidArgumentError: when it runs, for records that are not such.
    """
    content = tf.io.parse_example(records, _SPEC)[schema.SEQUENCES]
    num_parts = _read_numbers(content, tf.zeros_like(content, tf.int32), 1)[:, 0]
    begin = tf.fill(tf.shape(content), compact.NUMBER_TYPE.itemsize)
    size = num_parts * compact.NUMBER_TYPE.itemsize * compact.NUMBERS_PER_PART
    parts = _read(
        *(content, begin, size),
        compact.NUMBER_TYPE,
        pack_sequences * compact.NUMBERS_PER_PART,
    )
    parts = tf.reshape(parts, (-1, pack_sequences, compact.NUMBERS_PER_PART))
    begin += size
    lengths = tf.reduce_sum(parts[:, :, :2], axis=(1, 2))  # [batch]
    id_type = compact.choose_id_type(vocab_size)
    size = lengths * id_type.itemsize
    ids = _read(content, begin, size, id_type, max_seq_length)
    starts, maskable = _read_bits(content, begin + size, lengths, max_seq_length)
    features = {
        schema.INPUT_IDS: ids,
        schema.WORD_IDS: tf.cumsum(starts * maskable, axis=1) * maskable,
        schema.NEXT_SENTENCE_LABELS: parts[:, :, 2],
    }
    return features | _number_columns(parts, lengths, max_seq_length)


def _number_columns(parts, lengths, max_seq_length: int) -> dict[str, tf.Tensor]:
    """Return the features that the lengths of the parts give."""
    # A and B of each part in turn, [batch, 2 * parts].
    sides = tf.reshape(parts[:, :, :2], (-1, 2 * parts.shape[1]))
    ends = tf.cumsum(sides, axis=1)
    columns = tf.zeros_like(lengths)[:, tf.newaxis] + tf.range(max_seq_length)
    in_use = tf.cast(columns < lengths[:, tf.newaxis], tf.int32)
    # The side of each column: the number of sides that end before it.
    is_past = ends[:, :, tf.newaxis] <= columns[:, tf.newaxis]
    side = tf.reduce_sum(tf.cast(is_past, tf.int32), axis=1)
    numbered = {
        schema.INPUT_MASK: in_use,
        schema.SEGMENT_IDS: side % 2 * in_use,
    }
    if parts.shape[1] == 1:
        return numbered
    begins = (ends - sides)[:, ::2]  # [batch, parts]
    part = side // 2
    begin = tf.gather(begins, tf.minimum(part, parts.shape[1] - 1), batch_dims=1)
    is_part = tf.cast(parts[:, :, 0] > 0, tf.int32)
    return numbered | {
        schema.PART_IDS: (part + 1) * in_use,
        schema.POSITION_IDS: (columns - begin) * in_use,
        schema.CLS_POSITIONS: begins * is_part,
        schema.NEXT_SENTENCE_WEIGHTS: is_part,
    }


def _read(content, begin, num_bytes, number_type, width) -> tf.Tensor:
    """Return some bytes of each row as numbers, int32 [batch, width], 0 at the end."""
    chosen = tf.strings.substr(content, begin, num_bytes)
    numbers = tf.io.decode_raw(
        chosen, number_type.type, fixed_length=width * number_type.itemsize
    )
    return tf.cast(numbers, tf.int32)


def _read_numbers(content, begin, count: int) -> tf.Tensor:
    """Return the uint16 from `begin` [batch] on, int32 [batch, count]."""
    size = tf.fill(tf.shape(content), compact.NUMBER_TYPE.itemsize * count)
    return _read(content, begin, size, compact.NUMBER_TYPE, count)


def _read_bits(content, begin, lengths, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first and the second bit of each token, int32 [batch, width]."""
    most = -(-width // 4)
    octets = _read(content, begin, -(-lengths // 4), compact.BYTE_TYPE, most)
    both = tf.bitwise.right_shift(octets[:, :, tf.newaxis], [6, 4, 2, 0])
    both = tf.reshape(both, (-1, most * 4))[:, :width]
    return tf.bitwise.right_shift(both, 1) & 1, both & 1
