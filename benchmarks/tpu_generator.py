"""Let a step that was lowered on a CPU draw random bits by a TPU's own generator.

Our training step needs none of this: its dropout hashes the positions. Model Garden's
step draws by tf.random, and would be compiled with a CPU's generator otherwise.
"""

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

from tpu.compiler import hlo_edits

_STATE_SIZE = 2  # Words of 64 bits in the state of a TPU's generator.
# Kept even if nothing uses them: parameters are the signature, the others have effects.
_KEPT_OPCODES = ("parameter", "infeed", "outfeed", "send", "recv", "custom-call")


def use_default_generator(computation: hlo_pb2.HloComputationProto) -> int:
    """Let each `rng-bit-generator` draw by the device's default algorithm.

    A stateless random op of TensorFlow whose algorithm is "auto_select" becomes one
    `rng-bit-generator` instruction: with RNG_PHILOX and the state u64[3] for a CPU or a
    GPU, with RNG_DEFAULT and the state u64[2] for a TPU (DefaultRngAlgForDeviceType in
    tensorflow/compiler/tf2xla/kernels/rng_converter_utils.cc). The TPU compiler turns
    Philox into tens of passes over memory; the TPU's own generator is one instruction.

    Only the random bits may be used, not the next state; `drop_unused` removes the
    instructions that read it for nothing.

    Returns:
        How many generators were changed.

    Raises:
        ValueError: the next state is used, so that its shape cannot be changed.
    """
    generators = [
        instruction
        for instruction in computation.instructions
        if instruction.opcode == "rng-bit-generator"
        and instruction.rng_algorithm == xla_data_pb2.RNG_PHILOX
    ]
    next_id = 1 + max(instruction.id for instruction in computation.instructions)
    for generator in generators:
        _check_state_unused(computation, generator)
        start = hlo_pb2.HloInstructionProto(
            name=f"{generator.name}.state",
            opcode="slice",
            id=next_id,
            operand_ids=[generator.operand_ids[0]],
            metadata=generator.metadata,
        )
        next_id += 1
        start.shape.CopyFrom(generator.shape.tuple_shapes[0])
        start.shape.dimensions[0] = _STATE_SIZE
        dimension = start.slice_dimensions.add()
        dimension.start, dimension.limit, dimension.stride = 0, _STATE_SIZE, 1
        generator.rng_algorithm = xla_data_pb2.RNG_DEFAULT
        generator.operand_ids[0] = start.id
        generator.shape.tuple_shapes[0].dimensions[0] = _STATE_SIZE
        computation.instructions.append(start)
    _sort_by_dependency(computation)
    return len(generators)


def _check_state_unused(computation, generator) -> None:
    for instruction in computation.instructions:
        if (
            generator.id in instruction.operand_ids
            and instruction.opcode != "get-tuple-element"
        ) or (
            instruction.opcode == "get-tuple-element"
            and generator.id in instruction.operand_ids
            and instruction.tuple_index == 0
        ):
            raise ValueError(
                f"{instruction.name} ({instruction.metadata.op_name}) uses the state "
                "that a random generator leaves; draw with "
                "tf.random.stateless_uniform and a fresh seed instead."
            )


def drop_unused(computation) -> None:
    """Drop the instructions that nothing uses, as the compiler would."""
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    wanted = [computation.root_id]
    wanted += [i.id for i in by_id.values() if i.opcode in _KEPT_OPCODES]
    used = set()
    while wanted:
        number = wanted.pop()
        if number not in used:
            used.add(number)
            wanted += by_id[number].operand_ids
            wanted += by_id[number].control_predecessor_ids
    hlo_edits.replace_instructions(
        computation, [i for i in by_id.values() if i.id in used]
    )


def _sort_by_dependency(computation) -> None:
    """Put every instruction after its operands, as the reader of the HLO expects."""
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    ordered, done = [], set()
    stack = list(reversed(list(by_id)))
    while stack:
        number = stack[-1]
        needed = [
            *by_id[number].operand_ids,
            *by_id[number].control_predecessor_ids,
        ]
        missing = [other for other in needed if other not in done]
        if number in done or not missing:
            stack.pop()
            if number not in done:
                done.add(number)
                ordered.append(by_id[number])
        else:
            stack += missing
    hlo_edits.replace_instructions(computation, ordered)
