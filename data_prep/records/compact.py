"""Sequences without masks in few bytes: what a record holds that training masks.

Such a record is a `tf.train.Example` of one feature, `schema.SEQUENCES`, whose bytes
are, with the low byte of each number first:

- uint16: the number of parts, which is 1 unless sequences are packed;
- for each part three uint16: the tokens of A with [CLS] and its [SEP], the tokens of B
  with its [SEP] (0 without B), and the next_sentence_label;
- the token ids without padding: uint16, or int32 for vocabularies that need it;
- two bits for each token, those of the first the highest of a byte: does a word begin
  here, and may it be masked?

`compact_parsing` reads them.
"""

import numpy as np

from data_prep.records import sequences as sequences_lib
from data_prep.records import tfrecords

NUMBER_TYPE = np.dtype("<u2")  # of what stands before the ids
BYTE_TYPE = np.dtype("u1")
NUMBERS_PER_PART = 3
# The longest sequence whose lengths fit.
MAX_SEQ_LENGTH = (1 << 16) - 1


def choose_id_type(vocab_size: int) -> np.dtype:
    """Return the type of the token ids of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<i4")


def count_parts(content: bytes) -> int:
    """Return the number of parts that a record's bytes hold."""
    return int(np.frombuffer(content, NUMBER_TYPE, 1)[0])


def encode(
    choices: sequences_lib.Sequences, parts: np.ndarray, vocab_size: int
) -> tfrecords.ByteRows:
    """Return the bytes of some records.

    Args:
        choices: the rows; their words are those that masking chooses from.
        parts: int [rows, most, 3], the parts of each row, first those that there are,
            see `sequences.list_parts`; then zeros.
        vocab_size: number of tokens.
    """
    length = choices.input_ids.shape[1]
    in_use = np.arange(length) < choices.lengths[:, None]
    is_part = parts[:, :, 0] > 0
    num_parts = np.ascontiguousarray(is_part.sum(axis=1)[:, None], NUMBER_TYPE)
    parts_in_use = is_part.repeat(NUMBERS_PER_PART * NUMBER_TYPE.itemsize, axis=1)
    parts = np.ascontiguousarray(parts.reshape(len(parts), -1), NUMBER_TYPE)
    id_type = choose_id_type(vocab_size)
    ids = np.ascontiguousarray(choices.input_ids, id_type).view(np.uint8)
    bits = (
        np.stack([choices.word_starts, choices.maskable], axis=2) & in_use[:, :, None]
    )
    bits = np.packbits(bits.reshape(len(bits), -1), axis=1)
    bits_in_use = np.arange(bits.shape[1]) < -(-choices.lengths[:, None] // 4)
    return tfrecords.join(
        [
            tfrecords.use_all(num_parts.view(np.uint8)),
            tfrecords.use_some(parts.view(np.uint8), parts_in_use),
            tfrecords.use_some(ids, in_use.repeat(id_type.itemsize, axis=1)),
            tfrecords.use_some(bits, bits_in_use),
        ]
    )
