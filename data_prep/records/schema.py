"""Names, dtypes and shapes of one pretraining record: the only place that spells them.

A record is a serialized `tf.train.Example` of int64 and float lists with the seven
features of google-research/bert (`create_pretraining_data.py`). A record that is masked
while training has `WORD_IDS` in place of the three features of masked tokens.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

INPUT_IDS = "input_ids"
INPUT_MASK = "input_mask"
SEGMENT_IDS = "segment_ids"
MASKED_LM_POSITIONS = "masked_lm_positions"
MASKED_LM_IDS = "masked_lm_ids"
MASKED_LM_WEIGHTS = "masked_lm_weights"
NEXT_SENTENCE_LABELS = "next_sentence_labels"
# For each token the number of its word in the sequence, from 1 on; 0 if it is never
# masked: special tokens, padding, and words that hold [UNK].
WORD_IDS = "word_ids"

SEQUENCE_FEATURES = (INPUT_IDS, INPUT_MASK, SEGMENT_IDS)
PREDICTION_FEATURES = (MASKED_LM_POSITIONS, MASKED_LM_IDS, MASKED_LM_WEIGHTS)
FEATURES = (*SEQUENCE_FEATURES, *PREDICTION_FEATURES, NEXT_SENTENCE_LABELS)
DYNAMIC_FEATURES = (*SEQUENCE_FEATURES, WORD_IDS, NEXT_SENTENCE_LABELS)
# When a record is masked -> its features.
FEATURES_OF = {"static": FEATURES, "dynamic": DYNAMIC_FEATURES}

# The only feature that holds floats; every other one holds int64.
FLOAT_FEATURES = (MASKED_LM_WEIGHTS,)

# Our name -> the name on disk. "v2" is what TF Model Garden's
# official/nlp/data/create_pretraining_data.py writes with use_v2_feature_names.
RECORD_NAMES = {
    "google": {name: name for name in (*FEATURES, WORD_IDS)},
    "v2": {
        **{name: name for name in (*FEATURES, WORD_IDS)},
        INPUT_IDS: "input_word_ids",
        SEGMENT_IDS: "input_type_ids",
    },
}


def feature_shapes(
    max_seq_length: int, max_predictions_per_seq: int, masking_time: str = "static"
) -> dict[str, tuple[int, ...]]:
    """Return the fixed shape of each feature of one record, under our names.

    Args:
        max_seq_length: tokens per sequence.
        max_predictions_per_seq: masked positions per sequence.
        masking_time: key of `FEATURES_OF`.
    """
    shapes = {
        **dict.fromkeys((*SEQUENCE_FEATURES, WORD_IDS), (max_seq_length,)),
        **dict.fromkeys(PREDICTION_FEATURES, (max_predictions_per_seq,)),
        NEXT_SENTENCE_LABELS: (1,),
    }
    return {name: shapes[name] for name in FEATURES_OF[masking_time]}


def parsing_spec(
    max_seq_length: int,
    max_predictions_per_seq: int,
    feature_names: str = "google",
    masking_time: str = "static",
) -> "dict[str, tf.io.FixedLenFeature]":
    """Return the specification with which `tf.io.parse_example` reads a record.

    Args:
        max_seq_length: tokens per sequence.
        max_predictions_per_seq: masked positions per sequence.
        feature_names: key of `RECORD_NAMES`, the spelling on disk.
        masking_time: key of `FEATURES_OF`.

    Returns:
        A dict from the name on disk to a `FixedLenFeature` (int64, or float32 for the
        weights).
    """
    # Imported here, because writing records needs no TensorFlow.
    import tensorflow as tf

    shapes = feature_shapes(max_seq_length, max_predictions_per_seq, masking_time)
    return {
        RECORD_NAMES[feature_names][name]: tf.io.FixedLenFeature(
            shape, tf.float32 if name in FLOAT_FEATURES else tf.int64
        )
        for name, shape in shapes.items()
    }
