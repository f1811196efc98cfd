import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import plateau_figure, plateau_probe
from bert_cn.model import config as config_lib
from bert_cn.model import encoder as encoder_lib
from data_prep.records import schema
from data_prep.text import vocab as vocab_lib

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh")
PAD, CLS, SEP, MASK, A, B, C, D, E, F, G, H = (0, *range(2, 13))


@pytest.fixture
def batch():
    """One record: a is hidden, e was kept, g stands for h; the last place is unused."""
    return {
        schema.INPUT_IDS: np.array([[CLS, B, MASK, C, D, B, D, E, F, G, SEP, PAD]]),
        schema.INPUT_MASK: np.array([[1] * 11 + [0]]),
        schema.MASKED_LM_POSITIONS: np.array([[2, 7, 9, 0]]),
        schema.MASKED_LM_IDS: np.array([[A, E, H, 0]]),
        schema.MASKED_LM_WEIGHTS: np.array([[1.0, 1.0, 1.0, 0.0]]),
    }


@pytest.fixture
def vocabulary():
    return vocab_lib.Vocabulary(TOKENS, "vocab.txt", "\n".join(TOKENS).encode())


def test_mark_kinds_tells_hidden_kept_and_random_tokens_apart(batch):
    kinds = plateau_probe.mark_kinds(batch, MASK)
    assert kinds.tolist() == [[0, 1, 2, 3]]


def test_mark_movable_leaves_out_masked_and_special_tokens(batch, vocabulary):
    near, far = plateau_probe.mark_movable(batch, vocabulary)
    assert np.flatnonzero(near[0]).tolist() == [1, 3, 4, 5, 6, 8]
    assert not far.any()
    batch[schema.MASKED_LM_WEIGHTS][0, 1:] = 0.0
    near, far = plateau_probe.mark_movable(batch, vocabulary)
    assert np.flatnonzero(near[0]).tolist() == [1, 3, 4]
    assert np.flatnonzero(far[0]).tolist() == [5, 6, 7, 8, 9]


def test_exchange_moves_chosen_tokens_only(batch):
    chosen = np.zeros((1, 12), bool)
    chosen[0, [3, 8, 9]] = True
    ids = plateau_probe.exchange(batch, chosen, np.random.default_rng(2))
    before = batch[schema.INPUT_IDS]
    assert ids[~chosen].tolist() == before[~chosen].tolist()
    assert sorted(ids[chosen]) == [C, F, G]
    assert ids[chosen].tolist() != [C, F, G]


def test_mark_keys_gives_kinds_of_keys(batch, vocabulary):
    keys = plateau_probe.mark_keys(batch, vocabulary)
    assert np.flatnonzero(keys["itself"][0, 2]).tolist() == [2]
    assert np.flatnonzero(keys["neighbors"][0, 2]).tolist() == [0, 1, 3, 4]
    assert np.flatnonzero(keys["masks"][0, 2]).tolist() == []
    assert np.flatnonzero(keys["masks"][0, 3]).tolist() == [2]
    assert np.flatnonzero(keys["separators"][0, 2]).tolist() == [0, 10]


def test_mean_cosine_is_that_of_different_rows():
    rows = np.array([[2.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    assert plateau_probe.mean_cosine(rows) == pytest.approx(1 / 3)


def test_compute_attention_follows_the_encoder():
    keras.utils.set_random_seed(1)
    config = config_lib.BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
    )
    encoder = encoder_lib.BertEncoder(config)
    for variable in encoder.trainable_variables:
        variable.assign(variable * 20)  # Far from uniform attention.
    ids = np.random.default_rng(0).integers(5, 50, (2, 6)).astype(np.int32)
    mask = np.array([[1] * 6, [1] * 4 + [0] * 2], np.int32)
    features = {
        schema.INPUT_IDS: tf.constant(ids),
        schema.INPUT_MASK: tf.constant(mask),
        schema.SEGMENT_IDS: tf.zeros((2, 6), tf.int32),
    }
    output, weights = plateau_probe.compute_attention(encoder, features)
    expected = encoder(
        {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": mask}
    )["sequence_output"]
    difference = np.abs(output.numpy() - expected.numpy())
    assert difference[mask > 0].max() < 1e-4
    assert weights.shape == (2, 2, 2, 6, 6)
    np.testing.assert_allclose(weights.numpy().sum(axis=-1), 1.0, rtol=1e-5)
    assert weights.numpy()[1, ..., 4:].max() == 0.0


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("token_embedding/embeddings", "embeddings"),
        ("masked_lm_head/output_bias", "head"),
        (
            "transformer_layer_1/self_attention_layer/key/kernel",
            "layer 1 query and key",
        ),
        (
            "transformer_layer_0/self_attention_layer_norm/gamma",
            "layer 0 value and output",
        ),
        (
            "transformer_layer_0/feedforward_output_dense/bias",
            "layer 0 feed-forward",
        ),
    ],
)
def test_name_part(path, part):
    assert plateau_probe.name_part(path) == part


def test_find_leaving_step_ignores_a_peak_before_the_plateau():
    accuracies = [0.04, 0.17, 0.13, 0.14, 0.155, 0.17, 0.3]
    result = {
        "measurements": [
            {"step": 50 * number, "accuracy": accuracy}
            for number, accuracy in enumerate(accuracies)
        ]
    }
    assert plateau_figure.find_leaving_step(result) == 250
    plateau = plateau_figure.find_plateau(result)
    assert [measurement["step"] for measurement in plateau] == [100, 150]
    assert plateau_figure.find_leaving_step({"measurements": []}) is None
