"""Records without masks: the bytes that are stored, and what is read from them."""

import numpy as np
import pytest
import tensorflow as tf

from data_prep.records import (
    compact,
    compact_parsing,
    row_packing,
    schema,
    sequences,
    tfrecords,
)


def make_sequences(rows: int, length: int, vocab_size: int) -> sequences.Sequences:
    rng = np.random.default_rng(length)
    lengths = rng.integers(3, length + 1, rows)
    lengths[0] = length
    columns = np.arange(length)
    in_use = columns < lengths[:, None]
    begins_b = rng.integers(2, length + 1, rows)
    word_starts = (rng.random((rows, length)) < 0.6) | ~in_use | (columns == 0)
    # The tokens of a word may be masked, or none of them.
    words = np.cumsum(word_starts, axis=1)
    maskable = np.take_along_axis(rng.random((rows, length + 1)) < 0.9, words, 1)
    return sequences.Sequences(
        rng.integers(1, vocab_size, (rows, length), np.int32) * in_use,
        ((columns >= begins_b[:, None]) & in_use).astype(np.uint8),
        lengths,
        word_starts,
        maskable & in_use,
    )


def encode(made, labels, vocab_size) -> list[bytes]:
    parts = sequences.list_parts(made, labels)[:, None]
    rows = compact.encode(made, parts, vocab_size)
    return tfrecords.encode_examples({schema.SEQUENCES: rows}, "google")


@pytest.mark.parametrize("vocab_size", [21_128, 65_536, 65_537, 250_002])
@pytest.mark.parametrize("length", [8, 77, 512])
def test_what_is_stored_is_read_again(length, vocab_size):
    made = make_sequences(40, length, vocab_size)
    labels = np.arange(40) % 3 == 0
    records = encode(made, labels, vocab_size)
    parse = tf.function(lambda r: compact_parsing.parse(r, length, vocab_size))
    parsed = parse(tf.constant(records))
    parsed = {name: value.numpy() for name, value in parsed.items()}
    assert parsed.keys() == set(schema.DYNAMIC_FEATURES)
    assert {value.dtype for value in parsed.values()} == {np.dtype("int32")}
    in_use = np.arange(length) < made.lengths[:, None]
    np.testing.assert_array_equal(parsed[schema.INPUT_IDS], made.input_ids)
    np.testing.assert_array_equal(parsed[schema.INPUT_MASK], in_use)
    np.testing.assert_array_equal(parsed[schema.SEGMENT_IDS], made.segment_ids)
    np.testing.assert_array_equal(
        parsed[schema.NEXT_SENTENCE_LABELS], labels[:, np.newaxis]
    )
    word_ids = parsed[schema.WORD_IDS]
    np.testing.assert_array_equal(word_ids > 0, made.maskable)
    # Tokens beside each other that may be masked are one word if none begins there.
    both = made.maskable[:, 1:] & made.maskable[:, :-1]
    same = word_ids[:, 1:] == word_ids[:, :-1]
    np.testing.assert_array_equal(same[both], ~made.word_starts[:, 1:][both])


def test_token_has_two_bytes_and_two_bits():
    made = make_sequences(50, 128, 21_128)
    tokens = made.lengths.sum()
    parts = sequences.list_parts(made, np.zeros(50, bool))[:, None]
    size = compact.encode(made, parts, 21_128).lengths.sum()
    assert size <= tokens * 2.25 + 50 * (8 + 2)
    # The name of the feature, tags and lengths.
    whole = sum(map(len, encode(made, np.zeros(50, bool), 21_128)))
    assert whole - size <= 50 * 25


@pytest.mark.parametrize("compression", tfrecords.COMPRESSIONS)
def test_compressed_file_is_read_by_tensorflow(tmp_path, compression):
    made = make_sequences(300, 64, 21_128)
    records = encode(made, np.zeros(300, bool), 21_128)
    plain, path = str(tmp_path / "plain"), str(tmp_path / "compressed")
    tfrecords.write_records(plain, [records])
    data = (tmp_path / "plain").read_bytes()
    blocks = (data[begin : begin + 1000] for begin in range(0, len(data), 1000))
    compressed = b"".join(tfrecords.compress(blocks, compression))
    (tmp_path / "compressed").write_bytes(compressed)
    assert tfrecords.find_compression(path) == compression
    read = tf.data.TFRecordDataset(path, tfrecords.COMPRESSIONS[compression])
    assert list(read.as_numpy_iterator()) == records


def test_several_sequences_of_a_row_are_read_again():
    length, most = 60, 5
    made = make_sequences(80, 17, 21_128)
    labels = np.arange(80) % 3 == 0
    rows = row_packing.pack_rows(made.lengths, length, most, np.random.default_rng(4))
    chosen = rows[rows >= 0]

    def widen(values, padding):
        return np.pad(values[chosen], ((0, 0), (0, 43)), constant_values=padding)

    built = sequences.Sequences(
        widen(made.input_ids, 0),
        widen(made.segment_ids, 0),
        made.lengths[chosen],
        widen(made.word_starts, True),
        widen(made.maskable, False),
    )
    parts = np.zeros((*rows.shape, 3), int)
    parts[rows >= 0] = sequences.list_parts(built, labels[chosen])
    joined = sequences.join_rows(built, rows, 0)
    encoded = compact.encode(joined, parts, 21_128)
    records = tfrecords.encode_examples({schema.SEQUENCES: encoded}, "google")
    parsed = compact_parsing.parse(tf.constant(records), length, 21_128, most)
    parsed = {name: value.numpy() for name, value in parsed.items()}
    shapes = schema.feature_shapes(length, 1, most)
    for name in (*schema.PART_FEATURES, schema.NEXT_SENTENCE_LABELS):
        assert parsed[name].shape == (len(rows), *shapes[name])
    for row, numbers in enumerate(rows):
        end = 0
        for part, number in enumerate(numbers):
            assert parsed[schema.NEXT_SENTENCE_WEIGHTS][row, part] == (number >= 0)
            if number < 0:
                assert parsed[schema.CLS_POSITIONS][row, part] == 0
                continue
            begin, end = end, end + made.lengths[number]
            of_row = {name: value[row, begin:end] for name, value in parsed.items()}
            size = made.lengths[number]
            np.testing.assert_array_equal(
                of_row[schema.INPUT_IDS], made.input_ids[number, :size]
            )
            np.testing.assert_array_equal(
                of_row[schema.SEGMENT_IDS], made.segment_ids[number, :size]
            )
            np.testing.assert_array_equal(
                of_row[schema.WORD_IDS] > 0, made.maskable[number, :size]
            )
            assert (of_row[schema.PART_IDS] == part + 1).all()
            np.testing.assert_array_equal(of_row[schema.POSITION_IDS], np.arange(size))
            assert parsed[schema.CLS_POSITIONS][row, part] == begin
            assert parsed[schema.NEXT_SENTENCE_LABELS][row, part] == labels[number]
        assert parsed[schema.INPUT_MASK][row].sum() == end
        for name in (schema.PART_IDS, schema.SEGMENT_IDS, schema.INPUT_IDS):
            assert not parsed[name][row, end:].any()
