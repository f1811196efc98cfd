"""Lowering for tests of the TPU compiler's input."""

import tensorflow as tf

from tpu.compiler import hlo_edits


def lower(function, *arguments):
    """Return the HloModuleProto of a function."""
    write = tf.function(function, jit_compile=True).experimental_get_compiler_ir(
        *arguments
    )
    return hlo_edits.read_module(write(stage="hlo_serialized"))


def list_instructions(module, opcode=None):
    """Return the instructions of a module, of one kind or of all."""
    return [
        instruction
        for computation in module.computations
        for instruction in computation.instructions
        if opcode in (None, instruction.opcode)
    ]


def check_order(module):
    """Check that every instruction follows its operands."""
    for computation in module.computations:
        seen = set()
        for instruction in computation.instructions:
            assert set(instruction.operand_ids) <= seen
            seen.add(instruction.id)
        assert computation.root_id in seen
