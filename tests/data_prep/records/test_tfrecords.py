import numpy as np
import pytest
import tensorflow as tf

from data_prep.records import schema, tfrecords


def make_features(rows: int, length: int, predictions: int, largest: int):
    rng = np.random.default_rng(3)
    shapes = schema.feature_shapes(length, predictions)
    features = {
        name: rng.integers(0, 2, (rows, *shape)) for name, shape in shapes.items()
    }
    # Sizes on both sides of each varint border.
    edges = [v for v in (0, 127, 128, 16383, 16384, 2097151) if v < largest]
    features[schema.INPUT_IDS] = rng.choice([*edges, largest], (rows, length))
    features[schema.MASKED_LM_WEIGHTS] = rng.random((rows, predictions), np.float32)
    return features


@pytest.mark.parametrize("feature_names", ["google", "v2"])
@pytest.mark.parametrize("largest", [100, 21127, 5_000_000])
@pytest.mark.parametrize(("length", "predictions"), [(5, 1), (128, 20), (512, 76)])
def test_bytes_are_those_of_protocol_buffers(
    feature_names, largest, length, predictions
):
    features = make_features(9, length, predictions, largest)
    records = tfrecords.encode_examples(features, feature_names)
    assert len(records) == 9
    names = schema.RECORD_NAMES[feature_names]
    for row, record in enumerate(records):
        example = tf.train.Example()
        for name, values in features.items():
            feature = example.features.feature[names[name]]
            if name in schema.FLOAT_FEATURES:
                feature.float_list.value.extend(values[row].tolist())
            else:
                feature.int64_list.value.extend(values[row].tolist())
        assert tf.train.Example.FromString(record) == example
        assert record == example.SerializeToString(deterministic=True)


def test_written_file_is_read_by_tensorflow(tmp_path):
    features = make_features(5, 16, 3, 21127)
    path = str(tmp_path / "a.tfrecord")
    records = tfrecords.encode_examples(features, "google")
    assert tfrecords.write_records(path, [records[:2], [], records[2:]]) == 5
    spec = schema.parsing_spec(16, 3)
    for row, record in enumerate(tf.data.TFRecordDataset(path)):
        parsed = tf.io.parse_single_example(record, spec)
        for name, values in features.items():
            np.testing.assert_array_equal(parsed[name].numpy(), values[row])


def test_no_records_are_no_bytes():
    assert tfrecords.encode_examples(make_features(0, 8, 2, 100), "google") == []
