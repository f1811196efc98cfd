import pytest
import tensorflow as tf
from tensorflow.compiler.xla import xla_data_pb2

from benchmarks import tpu_generator
from tests.tpu import hlo

pytestmark = pytest.mark.usefixtures("xla_for_cpus")


def _convert(module):
    for computation in module.computations:
        tpu_generator.drop_unused(computation)
        tpu_generator.use_default_generator(computation)


def test_random_bits_come_from_the_default_generator():
    module = hlo.lower(
        lambda seed: tf.random.stateless_uniform([8, 16], seed), tf.constant([1, 2])
    )
    (before,) = hlo.list_instructions(module, "rng-bit-generator")
    assert before.rng_algorithm == xla_data_pb2.RNG_PHILOX
    _convert(module)
    (after,) = hlo.list_instructions(module, "rng-bit-generator")
    assert after.rng_algorithm == xla_data_pb2.RNG_DEFAULT
    assert list(after.shape.tuple_shapes[0].dimensions) == [2]
    instructions = hlo.list_instructions(module)
    (state,) = (i for i in instructions if i.id == after.operand_ids[0])
    assert (state.opcode, list(state.shape.dimensions)) == ("slice", [2])
    hlo.check_order(module)


def test_unused_instructions_are_dropped():
    module = hlo.lower(lambda x: x + 1.0, tf.ones([3]))
    entry = module.computations[0]
    unused = entry.instructions.add(name="unused", opcode="constant", id=987)
    unused.shape.CopyFrom(entry.instructions[0].shape)
    _convert(module)
    assert not [i for i in hlo.list_instructions(module) if i.name == "unused"]


def test_generator_whose_next_state_is_used_is_refused():
    module = hlo.lower(
        lambda seed: tf.random.stateless_uniform([8, 16], seed), tf.constant([1, 2])
    )
    (computation,) = (
        c
        for c in module.computations
        if any(i.opcode == "rng-bit-generator" for i in c.instructions)
    )
    with pytest.raises(ValueError, match="uses the state that a random generator"):
        tpu_generator.use_default_generator(computation)
