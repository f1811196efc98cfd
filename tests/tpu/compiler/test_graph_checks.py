import pytest
import tensorflow as tf

from bert_cn.pretraining import eval_metrics, train_step
from bert_cn.pretraining import settings as settings_lib
from tests.bert_cn import records
from tpu.compiler import graph_checks, slice_strategy, step_lowering


def _find(function, *specs):
    """Return "type: problem" of what is wrong in a function called by a function."""
    inner = tf.function(function)
    outer = tf.function(lambda *arguments: inner(*arguments))
    graph = outer.get_concrete_function(*specs).graph
    return graph_checks.find_violations(graph)


_FLOATS = tf.TensorSpec([4, 5], tf.float32)


@pytest.mark.parametrize(
    ("function", "op", "problem"),
    [
        (lambda x: tf.cast(x, tf.float64) * 2, "Mul", "computes in float64"),
        (
            lambda x: tf.argmax(x, 0) + 1,
            "AddV2",
            "computes int64 of shape (5,)",
        ),
        (
            lambda x: tf.boolean_mask(x, x > 0),
            "Where",
            "has the dynamic shape (None, 1)",
        ),
        (
            lambda x: tf.ensure_shape(tf.py_function(abs, [x], tf.float32), [4, 5]),
            "EagerPyFunc",
            "calls back to the host",
        ),
        (
            lambda x: tf.ensure_shape(tf.numpy_function(abs, [x], tf.float32), [4, 5]),
            "PyFunc",
            "calls back to the host",
        ),
        (
            lambda x: tf.while_loop(
                lambda i, y: i < 3,
                lambda i, y: (i + 1, tf.cast(tf.cast(y, tf.float64), tf.float32)),
                (0, x),
            ),
            "Cast",
            "computes in float64",
        ),
    ],
)
def test_find_violations_in_called_functions(function, op, problem):
    found = _find(function, _FLOATS)
    assert any(f"[{op}]" in one.op and one.problem == problem for one in found), found
    assert all(
        one.line.startswith("tests/tpu/compiler/test_graph_checks.py:") for one in found
    )


def test_find_violations_of_a_host_print():
    def log(x):
        tf.print(x)
        return x

    found = _find(log, _FLOATS)
    assert {one.problem for one in found} >= {"calls back to the host"}


def test_find_violations_gives_none_for_counters_and_seeds():
    counter = tf.Variable(0, dtype=tf.int64)

    def step(x):
        draws = tf.random.stateless_uniform(x.shape, [1, 2])
        return x * draws + tf.cast(counter.assign_add(1), tf.float32)

    assert _find(step, _FLOATS) == []


@pytest.fixture
def build_trainer(small_config):
    """Returns a function: settings -> trainer of one of 8 replicas, its strategy."""

    def build(optimizer: str = "bert_adamw", output_ids=None, **settings):
        strategy = slice_strategy.SliceStrategy(8)
        args = settings_lib.PretrainingArgs(
            optimizer=optimizer,
            num_train_steps=100,
            num_warmup_steps=10,
            precision="mixed_bfloat16",
            **settings,
        )
        trainer = train_step.build_trainer(
            args,
            small_config,
            strategy,
            output_ids=output_ids,
            teacher_config=small_config if args.teacher_checkpoint else None,
        )
        return trainer, strategy

    yield build
    tf.keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("optimizer", "accumulation_steps", "recompute_layers"),
    [("bert_adamw", 1, False), ("lamb", 2, True), ("muon", 1, False)],
)
def test_training_step_holds_nothing_that_a_tpu_cannot_do(
    build_trainer, optimizer, accumulation_steps, recompute_layers
):
    trainer, strategy = build_trainer(
        optimizer,
        gradient_accumulation_steps=accumulation_steps,
        recompute_layers=recompute_layers,
        muon_learning_rate=1e-4,  # Not used by the others.
    )
    features = step_lowering.make_features(4, records.LENGTH, records.PREDICTIONS)
    step = step_lowering.TracedStep(trainer, strategy, features)
    operations = list(graph_checks.walk_operations(step.graph))
    types = {op.type for op in operations}
    # Gradients are summed over replicas, dropout hashes, and the optimizer divides by
    # roots and assigns: this is the whole step.
    assert {"XlaAllReduce", "BitwiseXor", "Sqrt"} <= types
    assert types & {"AssignVariableOp", "AssignSubVariableOp"}
    assert graph_checks.find_violations(step.graph) == []


def test_step_with_every_new_option_holds_nothing_that_a_tpu_cannot_do(
    build_trainer,
):
    trainer, strategy = build_trainer(
        *("adamw", range(7, 31)),
        train_minutes=10.0,
        schedule="wsd",
        shift_positions=True,
        teacher_checkpoint="is not read",
    )
    features = step_lowering.make_features(4, records.LENGTH, records.PREDICTIONS)
    step = step_lowering.TracedStep(trainer, strategy, features)
    assert graph_checks.find_violations(step.graph) == []
    step.lower()


def test_evaluation_step_holds_nothing_that_a_tpu_cannot_do(build_trainer):
    trainer, strategy = build_trainer()
    features = step_lowering.make_features(4, records.LENGTH, records.PREDICTIONS)
    features |= eval_metrics.mark_groups(features, None)
    with strategy.scope():
        graph = trainer.eval_step.get_concrete_function(features).graph
    types = {op.type for op in graph_checks.walk_operations(graph)}
    # Predictions are counted, over all replicas: this is the whole step.
    assert {"ArgMax", "XlaAllReduce"} <= types
    assert graph_checks.find_violations(graph) == []
