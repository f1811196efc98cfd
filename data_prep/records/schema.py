"""Names, dtypes and shapes of one pretraining record: the only place that spells them.

A record is a serialized `tf.train.Example` of int64 and float lists with the seven
features of google-research/bert (`create_pretraining_data.py`). A record that is masked
while training has one feature of bytes, `SEQUENCES`, which `compact` lays out and
`compact_parsing` turns into `DYNAMIC_FEATURES`: with `WORD_IDS` in place of the three
features of masked tokens.
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

# Of rows that hold several sequences, its parts. For each token the number of its part,
# from 1 on, 0 for padding; and its position in that part.
PART_IDS = "part_ids"
POSITION_IDS = "position_ids"
# For each part, as many as a row may have: the place of its [CLS], and 1 where there is
# a part. `NEXT_SENTENCE_LABELS` then has as many values.
CLS_POSITIONS = "cls_positions"
NEXT_SENTENCE_WEIGHTS = "next_sentence_weights"

# What is masked while training, as bytes: see `compact`.
SEQUENCES = "sequences"

SEQUENCE_FEATURES = (INPUT_IDS, INPUT_MASK, SEGMENT_IDS)
PREDICTION_FEATURES = (MASKED_LM_POSITIONS, MASKED_LM_IDS, MASKED_LM_WEIGHTS)
FEATURES = (*SEQUENCE_FEATURES, *PREDICTION_FEATURES, NEXT_SENTENCE_LABELS)
DYNAMIC_FEATURES = (*SEQUENCE_FEATURES, WORD_IDS, NEXT_SENTENCE_LABELS)
# What rows of several sequences have besides.
PART_FEATURES = (PART_IDS, POSITION_IDS, CLS_POSITIONS, NEXT_SENTENCE_WEIGHTS)
# When a record is masked -> the features on disk.
FEATURES_OF = {"static": FEATURES, "dynamic": (SEQUENCES,)}

# The only feature that holds floats; every other one holds int64.
FLOAT_FEATURES = (MASKED_LM_WEIGHTS,)

# Our name -> the name on disk. "v2" is what TF Model Garden's
# official/nlp/data/create_pretraining_data.py writes with use_v2_feature_names.
RECORD_NAMES = {
    "google": {name: name for name in (*FEATURES, SEQUENCES)},
    "v2": {
        **{name: name for name in (*FEATURES, SEQUENCES)},
        INPUT_IDS: "input_word_ids",
        SEGMENT_IDS: "input_type_ids",
    },
}


def feature_shapes(
    max_seq_length: int, max_predictions_per_seq: int, pack_sequences: int = 1
) -> dict[str, tuple[int, ...]]:
    """Return the fixed shape of each of the seven `FEATURES`, under our names.

    Args:
        max_seq_length: tokens per record.
        max_predictions_per_seq: masked positions per record.
        pack_sequences: sequences of a record; if there may be several, it has
            `PART_FEATURES`, too.
    """
    shapes = {
        **dict.fromkeys(SEQUENCE_FEATURES, (max_seq_length,)),
        **dict.fromkeys(PREDICTION_FEATURES, (max_predictions_per_seq,)),
        NEXT_SENTENCE_LABELS: (pack_sequences,),
    }
    if pack_sequences > 1:
        shapes |= dict.fromkeys((PART_IDS, POSITION_IDS), (max_seq_length,))
        shapes |= dict.fromkeys(
            (CLS_POSITIONS, NEXT_SENTENCE_WEIGHTS), (pack_sequences,)
        )
    return shapes


def parsing_spec(
    max_seq_length: int, max_predictions_per_seq: int, feature_names: str = "google"
) -> "dict[str, tf.io.FixedLenFeature]":
    """Return the specification with which `tf.io.parse_example` reads the `FEATURES`.

    Args:
        max_seq_length: tokens per sequence.
        max_predictions_per_seq: masked positions per sequence.
        feature_names: key of `RECORD_NAMES`, the spelling on disk.

    Returns:
        A dict from the name on disk to a `FixedLenFeature` (int64, or float32 for the
        weights).
    """
    # Imported here, because writing records needs no TensorFlow.
    import tensorflow as tf

    shapes = feature_shapes(max_seq_length, max_predictions_per_seq)
    return {
        RECORD_NAMES[feature_names][name]: tf.io.FixedLenFeature(
            shape, tf.float32 if name in FLOAT_FEATURES else tf.int64
        )
        for name, shape in shapes.items()
    }
