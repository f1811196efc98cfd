"""Edit the HLO that TensorFlow lowered on a CPU into what it lowers on a TPU.

TensorFlow writes a serialized HloModuleProto; the conversion to StableHLO that the TPU
compiler reads knows no `copy`, and the random generator is a CPU's.
"""

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

# Words of 64 bits in the state of a generator: key and counter.
_DEFAULT_STATE_SIZE = 2


def read_module(serialized: bytes) -> hlo_pb2.HloModuleProto:
    """Parse what `experimental_get_compiler_ir(...)(stage="hlo_serialized")` gives."""
    return hlo_pb2.HloModuleProto.FromString(serialized)


def convert_for_tpu(module: hlo_pb2.HloModuleProto) -> None:
    """Make a module lowered on a CPU readable and as a TPU's, in place.

    1. `copy` instructions, which only pin layouts here, are dropped.
    2. Instructions that nothing uses are dropped, as the compiler would.
    3. Random bits come from the TPU's own generator (see `use_default_generator`).
    """
    for computation in module.computations:
        _drop_copies(computation)
        _drop_unused(computation)
        use_default_generator(computation)


def use_default_generator(computation: hlo_pb2.HloComputationProto) -> int:
    """Let each `rng-bit-generator` draw by the device's default algorithm.

    A stateless random op of TensorFlow whose algorithm is "auto_select" becomes one
    `rng-bit-generator` instruction: with RNG_PHILOX, state u64[3], where the function
    is lowered for a CPU or a GPU, and with RNG_DEFAULT, state u64[2], for a TPU
    (DefaultRngAlgForDeviceType in tensorflow/compiler/tf2xla/kernels/
    rng_converter_utils.cc). Philox is then written out by the TPU compiler in tens of
    passes over memory; the TPU's own generator is one instruction.

    Only the random numbers are read from the result, never the next state, which
    `_drop_unused` has seen to.

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
        start.shape.dimensions[0] = _DEFAULT_STATE_SIZE
        dimension = start.slice_dimensions.add()
        dimension.start, dimension.limit, dimension.stride = 0, _DEFAULT_STATE_SIZE, 1
        generator.rng_algorithm = xla_data_pb2.RNG_DEFAULT
        generator.operand_ids[0] = start.id
        generator.shape.tuple_shapes[0].dimensions[0] = _DEFAULT_STATE_SIZE
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
                "that a random generator leaves behind; draw with "
                "tf.random.stateless_uniform and a fresh seed instead."
            )


def _drop_copies(computation) -> None:
    """Point the users of each `copy` at what it copies."""
    sources = {
        instruction.id: instruction.operand_ids[0]
        for instruction in computation.instructions
        if instruction.opcode == "copy"
    }

    def resolve(number: int) -> int:
        while number in sources:
            number = sources[number]
        return number

    kept = [i for i in computation.instructions if i.id not in sources]
    for instruction in kept:
        instruction.operand_ids[:] = map(resolve, instruction.operand_ids)
        instruction.control_predecessor_ids[:] = map(
            resolve, instruction.control_predecessor_ids
        )
    computation.root_id = resolve(computation.root_id)
    _replace_instructions(computation, kept)


# Kept though nothing uses them: parameters are the signature, the rest has effects.
_KEPT_OPCODES = ("parameter", "infeed", "outfeed", "send", "recv", "custom-call")


def _drop_unused(computation) -> None:
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
    _replace_instructions(computation, [i for i in by_id.values() if i.id in used])


def _sort_by_dependency(computation) -> None:
    """Put every instruction behind its operands, as the reader expects them."""
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
    _replace_instructions(computation, ordered)


def _replace_instructions(computation, instructions) -> None:
    copies = [
        hlo_pb2.HloInstructionProto.FromString(i.SerializeToString())
        for i in instructions
    ]
    del computation.instructions[:]
    computation.instructions.extend(copies)
