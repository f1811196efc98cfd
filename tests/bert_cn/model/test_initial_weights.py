import numpy as np
import pytest

from bert_cn.model import config as config_lib
from bert_cn.model import initial_weights, pretraining_model

CONFIG = config_lib.BertConfig(
    vocab_size=50,
    hidden_size=256,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=512,
    max_position_embeddings=512,
)


@pytest.fixture
def model():
    return pretraining_model.build_pretraining_model(CONFIG)


def attention_of(encoder, ids: np.ndarray) -> np.ndarray:
    """Return the first layer's attention weights, [heads, length, length]."""
    x = encoder.token_embedding.embeddings.numpy()[ids]
    x += encoder.position_embedding.position_embeddings.numpy()[: len(ids)]
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    attention = encoder.transformer_layers[0]._self_attention_layer
    query, key = (
        np.einsum("ld,dhk->hlk", x, dense.kernel.numpy())
        for dense in (attention._query_dense, attention._key_dense)
    )
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_each_head_attends_to_one_neighbor_wherever_its_token_stands(model):
    encoder = model.get_layer("bert")
    initial_weights.scale_kernels(model, CONFIG)
    initial_weights.attend_to_neighbors(encoder, np.random.default_rng(0), 0.02)

    weights = attention_of(encoder, np.random.default_rng(1).integers(50, size=512))

    own = np.arange(4, 508)
    for head, distance in enumerate((-1, 1, -2, 2)):
        found = weights[head, own].argmax(-1)
        assert (found == own + distance).mean() > 0.8, distance
        assert weights[head, own, own + distance].mean() > 0.5, distance


@pytest.mark.parametrize("sentence_task", ["nsp", "none"])
def test_kernels_have_the_deviation_of_their_fan_in(model, sentence_task):
    if sentence_task == "none":
        pretraining_model.freeze_sentence_head(model)
    initial_weights.scale_kernels(model, CONFIG)
    layer = model.get_layer("bert").transformer_layers[0]
    attention = layer._self_attention_layer
    kernels = (
        (256, attention._query_dense.kernel),
        (512, layer._feedforward_output_dense.kernel),
        (256, attention._output_dense.kernel),
        (256, model.get_layer("bert").pooled_dense.kernel),
    )
    for fan_in, kernel in kernels:
        assert kernel.numpy().std() == pytest.approx(fan_in**-0.5, rel=0.03)


def test_output_bias_gives_the_frequencies_of_tokens(model):
    head = model.get_layer(pretraining_model.MLM_HEAD)
    initial_weights.set_output_bias(head, np.array([6, 3, 0, *[1] * 47]))
    shares = np.exp(head.bias.numpy())
    assert shares.sum() == pytest.approx(1)
    assert shares[0] / shares[1] == pytest.approx(2)
    assert shares[2] / shares[1] == pytest.approx(0.5 / 3)


def test_all_embeddings_are_scaled_and_nothing_else(model):
    before = {v.path: v.numpy() for v in model.trainable_variables}
    initial_weights.scale_embeddings(model.get_layer("bert"), 2.5)
    changed = {
        v.path.split("/")[-2]
        for v in model.trainable_variables
        if not np.array_equal(v.numpy(), before[v.path])
    }
    tables = {"token_embedding", "position_embedding", "segment_embedding"}
    assert changed == tables


def test_excluded_tokens_that_are_asked_for_are_predicted_again(model):
    head = model.get_layer(pretraining_model.MLM_HEAD)
    before = np.linspace(-12, -3, 50).astype(np.float32)
    head.bias.assign(before)
    # Nothing is excluded yet.
    assert initial_weights.include_outputs(head, np.arange(50)) == 0
    np.testing.assert_array_equal(head.bias.numpy(), before)
    initial_weights.exclude_outputs(head, np.arange(30, 50))
    low = head.bias.numpy()[0]
    assert initial_weights.include_outputs(head, np.array([2, 5, 40])) == 2
    after = head.bias.numpy()
    assert after[2] == after[5] == before[30]
    others = np.setdiff1d(np.arange(30), [2, 5])
    assert (after[others] == low).all()
    np.testing.assert_array_equal(after[30:], before[30:])
