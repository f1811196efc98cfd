"""Losses and their gradients, beside those of sentence-transformers."""

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.finetuning.sentences import losses, objectives

SCORES = np.array([1.0, 0.5, 0.5, 0.0, 0.25, 1.0], np.float32)
ONES = tf.ones(6)


@pytest.fixture(scope="module")
def theirs():
    """Their modules, and a function that returns a loss and its gradients."""
    torch = pytest.importorskip("torch", reason="pip install 'bert_cn[torch]'")
    library = pytest.importorskip(
        "sentence_transformers", reason="pip install 'bert_cn[torch]'"
    )

    class Fixed(torch.nn.Module):
        """Stands for a model: gives the embeddings that it is called with."""

        def forward(self, features):
            return dict(features)

        def get_embedding_dimension(self):
            return None

    def compute(build, arrays, labels, widths):
        tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]
        model = Fixed()
        loss = build(library.sentence_transformer.losses, model)
        if widths:
            loss = library.sentence_transformer.losses.MatryoshkaLoss(
                model, loss, widths
            )
        features = [{"sentence_embedding": tensor} for tensor in tensors]
        value = loss(features, torch.from_numpy(labels))
        value.backward()
        return value.item(), [tensor.grad.numpy() for tensor in tensors]

    return compute


def rank(*embeddings, scale):
    first, *others = embeddings
    candidates = tf.concat(others, axis=0)
    allowed = tf.ones((first.shape[0], candidates.shape[0]), tf.bool)
    return losses.rank(first, candidates, tf.range(first.shape[0]), allowed, scale)


OURS = {
    "cosine": lambda a, b: tf.square(losses.cosine(a, b) - SCORES),
    "cosent": lambda a, b: losses.order(losses.cosine(a, b), SCORES, ONES, 20.0),
    "angle": lambda a, b: losses.order(losses.angle(a, b), SCORES, ONES, 20.0),
    "ranking": lambda *each: rank(*each, scale=20.0),
    "ranking at another temperature": lambda *each: rank(*each, scale=5.0),
}
THEIRS = {
    "cosine": lambda library, model: library.CosineSimilarityLoss(model),
    "cosent": lambda library, model: library.CoSENTLoss(model),
    "angle": lambda library, model: library.AnglELoss(model),
    "ranking": lambda library, model: library.MultipleNegativesRankingLoss(model),
    "ranking at another temperature": (
        lambda library, model: library.MultipleNegativesRankingLoss(model, scale=5.0)
    ),
}


@pytest.mark.parametrize("widths", [(), (12, 5, 4)], ids=["one width", "matryoshka"])
@pytest.mark.parametrize("name", OURS)
def test_loss_and_gradients_are_those_of_sentence_transformers(name, widths, theirs):
    rng = np.random.default_rng(0)
    count = 3 if name.startswith("ranking") else 2
    arrays = [rng.normal(size=(6, 12)).astype(np.float32) for _ in range(count)]
    variables = [tf.Variable(array) for array in arrays]
    with tf.GradientTape() as tape:
        cut = [[v[:, :width] for v in variables] for width in widths or (12,)]
        ours = tf.add_n([tf.reduce_mean(OURS[name](*each)) for each in cut])
    gradients = tape.gradient(ours, variables)

    value, expected = theirs(THEIRS[name], arrays, SCORES, widths)

    assert float(ours) == pytest.approx(value, abs=1e-5)
    for found, wanted in zip(gradients, expected, strict=True):
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_order_is_zero_where_it_is_right_and_large_where_it_is_wrong():
    scores = tf.constant([1.0, 0.0])
    right = losses.order(tf.constant([1.0, -1.0]), scores, tf.ones(2), 20.0)
    wrong = losses.order(tf.constant([-1.0, 1.0]), scores, tf.ones(2), 20.0)
    equal = losses.order(tf.constant([-1.0, 1.0]), tf.ones(2), tf.ones(2), 20.0)

    np.testing.assert_allclose([right, wrong, equal], [0, 40, 0], atol=1e-6)


def test_filling_has_no_place_in_the_order():
    similarities = tf.constant([0.9, 0.1, 0.99])
    scores = tf.constant([1.0, 0.0, 0.0])
    kept = losses.order(similarities, scores, tf.constant([1.0, 1.0, 0.0]), 20.0)
    expected = losses.order(similarities[:2], scores[:2], tf.ones(2), 20.0)

    assert float(kept) == pytest.approx(float(expected))


def test_odd_embeddings_have_angles_as_if_a_zero_followed():
    rng = np.random.default_rng(0)
    first, second = (tf.constant(rng.normal(size=(4, 5)), tf.float32) for _ in "ab")
    padded = [tf.pad(each, [[0, 0], [0, 1]]) for each in (first, second)]

    np.testing.assert_allclose(
        losses.angle(first, second), losses.angle(*padded), rtol=1e-6
    )


def test_the_full_width_is_always_trained():
    objective = objectives.Objective("ranking", matryoshka_dims=(4, 2))
    widths = objectives.complete_widths(objective, 12).matryoshka_dims
    assert widths == (12, 4, 2)
    with pytest.raises(ValueError, match="--matryoshka_dims has 4, and the model's"):
        objectives.complete_widths(objective, 3)
    plain = objectives.Objective("ranking")
    assert objectives.complete_widths(plain, 12) == plain
