"""Small pretraining records, written with tf.train.Example, not by the data stage."""

import numpy as np
import tensorflow as tf

from data_prep.records import schema

LENGTH, PREDICTIONS, VOCAB_SIZE = 16, 3, 40


def make_record(rng: np.random.Generator, number: int) -> dict[str, np.ndarray]:
    """One record of random ids; its next-to-last id is its number, to tell it apart."""
    ids = rng.integers(5, VOCAB_SIZE, LENGTH)
    ids[-2] = number
    positions = np.sort(
        rng.choice(np.arange(1, LENGTH - 2), PREDICTIONS, replace=False)
    )
    return {
        schema.INPUT_IDS: ids,
        schema.INPUT_MASK: np.ones(LENGTH, np.int64),
        schema.SEGMENT_IDS: np.repeat([0, 1], LENGTH // 2),
        schema.MASKED_LM_POSITIONS: positions,
        schema.MASKED_LM_IDS: ids[positions],
        schema.MASKED_LM_WEIGHTS: np.ones(PREDICTIONS, np.float32),
        schema.NEXT_SENTENCE_LABELS: np.array([number % 2]),
    }


def write_records(path, records, feature_names: str = "google") -> None:
    names = schema.RECORD_NAMES[feature_names]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {}
            for name, value in record.items():
                if name in schema.FLOAT_FEATURES:
                    feature = {"float_list": tf.train.FloatList(value=value)}
                else:
                    feature = {"int64_list": tf.train.Int64List(value=value)}
                features[names[name]] = tf.train.Feature(**feature)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
