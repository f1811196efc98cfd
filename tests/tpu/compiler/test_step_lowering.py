import types

import pytest
import tensorflow as tf

from bert_cn.pretraining import settings as settings_lib
from bert_cn.pretraining import train_step
from data_prep.records import schema
from tests.bert_cn import records
from tpu.compiler import hlo_edits, slice_strategy, step_lowering


def _trace(step):
    trainer = types.SimpleNamespace(update=step)
    features = step_lowering.make_features(2, 8, 3)
    strategy = slice_strategy.SliceStrategy(2)
    return step_lowering.TracedStep(trainer, strategy, features)


def test_make_features_gives_shapes_and_dtypes_of_a_batch():
    features = step_lowering.make_features(4, 16, 3)
    found = {name: (tuple(f.shape), f.dtype) for name, f in features.items()}
    assert found == {
        schema.INPUT_IDS: ((4, 16), tf.int32),
        schema.INPUT_MASK: ((4, 16), tf.int32),
        schema.SEGMENT_IDS: ((4, 16), tf.int32),
        schema.MASKED_LM_POSITIONS: ((4, 3), tf.int32),
        schema.MASKED_LM_IDS: ((4, 3), tf.int32),
        schema.MASKED_LM_WEIGHTS: ((4, 3), tf.float32),
        schema.NEXT_SENTENCE_LABELS: ((4, 1), tf.int32),
    }


@pytest.mark.usefixtures("xla_for_cpus")
def test_lower_refuses_an_op_without_xla_form_and_names_our_line():
    def step(features):
        ids = features[schema.INPUT_IDS]
        return tf.py_function(lambda x: x, [ids], tf.int32, name="callback")

    with pytest.raises(ValueError, match="cannot be compiled for a TPU") as raised:
        _trace(step).lower()
    line = step.__code__.co_firstlineno + 2
    place = f"callback [EagerPyFunc] (tests/tpu/compiler/test_step_lowering.py:{line})"
    assert place in str(raised.value)


@pytest.mark.usefixtures("xla_for_cpus")
def test_lower_sums_over_all_replicas_and_knows_the_replica():
    def step(features):
        replicas = tf.distribute.get_replica_context()
        assert replicas.num_replicas_in_sync == 2
        weights = features[schema.MASKED_LM_WEIGHTS]
        number = tf.cast(replicas.replica_id_in_sync_group, tf.float32)
        return replicas.all_reduce(tf.distribute.ReduceOp.SUM, weights + number)

    module = hlo_edits.read_module(_trace(step).lower())
    instructions = [i for c in module.computations for i in c.instructions]
    (reduction,) = (i for i in instructions if i.opcode == "all-reduce")
    groups = reduction.collective_device_list.replica_groups
    assert [list(group.replica_ids) for group in groups] == [[0, 1]]
    assert [i.opcode for i in instructions].count("replica-id") == 1


@pytest.mark.usefixtures("xla_for_cpus")
@pytest.mark.parametrize(("sentence_task", "frozen"), [("nsp", 0), ("none", 4)])
def test_lowered_training_step_keeps_every_variable_in_its_place(
    small_config, sentence_task, frozen
):
    strategy = slice_strategy.SliceStrategy(8)
    args = settings_lib.PretrainingArgs(num_train_steps=100, num_warmup_steps=10)
    trainer = train_step.build_trainer(args, small_config, strategy, sentence_task)
    features = step_lowering.make_features(4, records.LENGTH, records.PREDICTIONS)
    traced = step_lowering.TracedStep(trainer, strategy, features)
    module = hlo_edits.read_module(traced.lower())
    entry = next(c for c in module.computations if c.id == module.entry_computation_id)
    parameters = sum(i.opcode == "parameter" for i in entry.instructions)
    # Without a sentence task, kernels and biases of pooler and head stay as they are.
    trained = len(trainer.model.weights) - frozen
    # Weights and two moments of each, and the count of updates, besides the batch and
    # the constants that the schedule captures.
    changed = 3 * trained + 1
    assert len(module.input_output_alias.entries) >= changed
    assert parameters >= changed + len(features)
    assert not [i for i in entry.instructions if i.opcode == "copy"]

    part = step_lowering.TracedStep(trainer, strategy, features, micro_batch_only=True)
    module = hlo_edits.read_module(part.lower())
    opcodes = {i.opcode for c in module.computations for i in c.instructions}
    # The products of the model, but neither sums over the replicas nor new weights: all
    # that is written in place is the state of a seed.
    assert "dot" in opcodes
    assert "all-reduce" not in opcodes
    assert len(module.input_output_alias.entries) == 1
