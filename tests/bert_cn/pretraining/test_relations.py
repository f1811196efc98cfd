import numpy as np
import pytest
import tensorflow as tf

from bert_cn.pretraining import relations
from data_prep.records import schema

LENGTH, HEADS = 5, 2
IN_USE = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


def relate(hidden, places):
    """Return [heads, tokens, tokens] of one sequence, by the formula."""
    size = hidden.shape[-1] // HEADS
    heads = hidden[places].reshape(len(places), HEADS, size)
    scores = np.einsum("ihd,jhd->hij", heads, heads) / np.sqrt(size)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


@pytest.fixture
def outputs():
    """Outputs of a student 4 wide and a teacher 6 wide."""
    generator = np.random.default_rng(3)
    return [
        generator.normal(0, 1, (2, LENGTH, width)).astype(np.float32)
        for width in (4, 6)
    ]


@pytest.mark.parametrize(
    ("parts", "sequences"),
    [
        (None, [(0, [0, 1, 2]), (1, [0, 1, 2, 3, 4])]),
        (
            [[1, 1, 1, 0, 0], [1, 1, 2, 2, 2]],
            [(0, [0, 1, 2]), (1, [0, 1]), (1, [2, 3, 4])],
        ),
    ],
)
def test_divergence_is_that_within_each_sequence(outputs, parts, sequences):
    student, teacher = outputs
    features = {schema.INPUT_MASK: tf.constant(IN_USE)}
    if parts is not None:
        features[schema.PART_IDS] = tf.constant(parts)
    expected = 0.0
    for row, places in sequences:
        p, q = (relate(hidden[row], places) for hidden in (teacher, student))
        expected += (p * np.log(p / q)).sum() / HEADS
    found = relations.sum_relation_losses(
        tf.constant(student), tf.constant(teacher), features, HEADS
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(relations.count_tokens(features)) == 8


def test_equal_relations_cost_nothing_and_the_teacher_gets_no_gradient(outputs):
    student, teacher = map(tf.constant, outputs)
    features = {schema.INPUT_MASK: tf.constant(IN_USE)}
    same = relations.sum_relation_losses(student, student, features, HEADS)
    assert float(same) == pytest.approx(0.0, abs=1e-5)
    with tf.GradientTape() as tape:
        tape.watch([student, teacher])
        loss = relations.sum_relation_losses(student, teacher, features, HEADS)
    to_student, to_teacher = tape.gradient(loss, [student, teacher])
    assert to_teacher is None
    assert np.abs(to_student).max() > 0
