import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, keras_weights, weight_map
from bert_cn.pretraining import input_pipeline, train_step, warm_start
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from tests.bert_cn import records


@pytest.fixture
def start(build_bert, tmp_path):
    """Returns a function: teacher -> flags of a run that it teaches, and its start."""

    def find(teacher, vocabulary=None):
        formats.write_checkpoint(teacher, "tf1", str(tmp_path / "teacher"))
        (tmp_path / "student.json").write_text(build_bert().config.to_json())
        args = settings_lib.PretrainingArgs(
            bert_config_file=str(tmp_path / "student.json"),
            teacher_checkpoint=str(tmp_path / "teacher"),
            do_train=True,
        )
        files = types.SimpleNamespace(max_seq_length=records.LENGTH, pack_sequences=1)
        found = records_lib.Records(files, files, vocabulary, None, "nsp")
        return args, warm_start.find_start(args, found), found

    return find


def test_weights_of_the_teacher_arrive_in_a_model_of_its_own(build_bert, start):
    teacher = build_bert(hidden_size=24, num_hidden_layers=1)
    args, point, found = start(teacher)
    strategy = tf.distribute.get_strategy()
    trainer = warm_start.build_trainer(args, point, found, strategy)
    weights = keras_weights.canonical_from_model(trainer.teacher)
    for name, value in teacher.weights.items():
        np.testing.assert_array_equal(weights[name], value[...])
    assert trainer.model.count_params() != trainer.teacher.count_params()
    assert trainer.teacher.trainable_variables == []
    # The student is drawn as if there were no teacher.
    alone = train_step.build_trainer(args, point.config, strategy).model
    for one, other in zip(trainer.model.variables, alone.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_training_reads_the_teacher(build_bert, start):
    args, _, found = start(build_bert())
    args = dataclasses.replace(args, do_train=False)
    assert warm_start.find_start(args, found).teacher is None


def test_student_comes_closer_to_its_teacher(start_run, files):
    """The labels have no share: what is learned is the teacher's alone."""
    generator = np.random.default_rng(5)
    run = start_run(
        teacher_checkpoint="was read", teacher_weight=1.0, pretraining_dropout=0.0
    )
    head = run.trainer.teacher.get_layer("masked_lm_head")
    head.bias.assign(generator.normal(0, 3, head.bias.shape))
    before = [variable.numpy() for variable in run.trainer.teacher.weights]
    dataset = input_pipeline.build_train_dataset(files, 8, seed=5)
    losses = []
    for _ in range(2):
        sums = run.trainer.train_steps(iter(dataset), tf.constant(5)).sums
        metrics = run.trainer.summarize(sums)
        losses.append(metrics["loss"] - metrics["next_sentence_loss"])
        # The label's own loss is shown beside what is minimized.
        assert metrics["masked_lm_loss"] != pytest.approx(losses[-1], rel=0.01)
    assert losses[1] < losses[0] - 0.1
    for one, other in zip(run.trainer.teacher.weights, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_student_takes_over_how_its_teachers_tokens_relate(start_run, files):
    """The teacher's predictions have no share, and its relations a large one."""
    run = start_run(
        teacher_checkpoint="was read",
        teacher_weight=0.0,
        teacher_relation_weight=10.0,
        pretraining_dropout=0.0,
        num_warmup_steps=0,
    )
    encoder = run.trainer.teacher.get_layer("bert")
    table = encoder.token_embedding.embeddings
    table.assign(np.random.default_rng(5).normal(0, 1, table.shape))
    dataset = input_pipeline.build_train_dataset(files, 8, seed=5)
    losses = []
    for _ in range(2):
        sums = run.trainer.train_steps(iter(dataset), tf.constant(5)).sums
        metrics = run.trainer.summarize(sums)
        losses.append(metrics["teacher_relation_loss"])
        assert metrics["loss"] == pytest.approx(
            metrics["masked_lm_loss"] + metrics["next_sentence_loss"] + 10 * losses[-1],
            rel=1e-4,
        )
    assert losses[1] < 0.95 * losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"parts": (weight_map.Part.ENCODER,)},
            "has no masked-LM head, so that it predicts no tokens",
        ),
        (
            {"max_position_embeddings": records.LENGTH - 1},
            f"has {records.LENGTH - 1} positions, and the records are {records.LENGTH}",
        ),
    ],
)
def test_teacher_that_cannot_teach_is_refused(build_bert, start, settings, message):
    with pytest.raises(ValueError, match=message):
        start(build_bert(**settings))


def test_teacher_of_another_vocabulary_is_refused(build_bert, start):
    vocabulary = build_bert().vocabulary
    changed = dataclasses.replace(vocabulary, tokens=(*vocabulary.tokens[:-1], "x"))
    with pytest.raises(ValueError, match="--teacher_checkpoint=.*another vocabulary"):
        start(build_bert(), changed)
