import pytest
import tensorflow as tf
from tensorflow.compiler.xla import xla_data_pb2

from tpu.compiler import hlo_edits

pytestmark = pytest.mark.usefixtures("xla_for_cpus")


def _lower(function, *arguments):
    write = tf.function(function, jit_compile=True).experimental_get_compiler_ir(
        *arguments
    )
    return hlo_edits.read_module(write(stage="hlo_serialized"))


def _instructions(module, opcode=None):
    return [
        instruction
        for computation in module.computations
        for instruction in computation.instructions
        if opcode in (None, instruction.opcode)
    ]


def _check_order(module):
    for computation in module.computations:
        seen = set()
        for instruction in computation.instructions:
            assert set(instruction.operand_ids) <= seen
            seen.add(instruction.id)
        assert computation.root_id in seen


def test_convert_for_tpu_draws_by_the_default_generator():
    module = _lower(
        lambda seed: tf.random.stateless_uniform([8, 16], seed), tf.constant([1, 2])
    )
    (before,) = _instructions(module, "rng-bit-generator")
    assert before.rng_algorithm == xla_data_pb2.RNG_PHILOX
    hlo_edits.convert_for_tpu(module)
    (after,) = _instructions(module, "rng-bit-generator")
    assert after.rng_algorithm == xla_data_pb2.RNG_DEFAULT
    assert list(after.shape.tuple_shapes[0].dimensions) == [2]
    (state,) = (i for i in _instructions(module) if i.id == after.operand_ids[0])
    assert (state.opcode, list(state.shape.dimensions)) == ("slice", [2])
    _check_order(module)


def test_convert_for_tpu_drops_copies_and_keeps_variables_aliased():
    variable = tf.Variable(tf.zeros([3]))

    def step(x):
        variable.assign_add(x)
        return variable * 2.0

    module = _lower(step, tf.ones([3]))
    assert _instructions(module, "copy")
    aliases = len(module.input_output_alias.entries)
    hlo_edits.convert_for_tpu(module)
    assert not _instructions(module, "copy")
    assert len(module.input_output_alias.entries) == aliases == 1
    assert len(_instructions(module, "parameter")) == 2
    _check_order(module)


def test_convert_for_tpu_drops_what_nothing_uses():
    module = _lower(lambda x: x + 1.0, tf.ones([3]))
    entry = module.computations[0]
    unused = entry.instructions.add(name="unused", opcode="constant", id=987)
    unused.shape.CopyFrom(entry.instructions[0].shape)
    hlo_edits.convert_for_tpu(module)
    assert not [i for i in _instructions(module) if i.name == "unused"]


def test_use_default_generator_refuses_where_the_next_state_is_used():
    module = _lower(
        lambda seed: tf.random.stateless_uniform([8, 16], seed), tf.constant([1, 2])
    )
    (computation,) = (
        c
        for c in module.computations
        if any(i.opcode == "rng-bit-generator" for i in c.instructions)
    )
    with pytest.raises(ValueError, match="uses the state that a random generator"):
        hlo_edits.use_default_generator(computation)
