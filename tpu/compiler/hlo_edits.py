"""Edit the HLO that TensorFlow lowers on a CPU so that the TPU compiler can read it.

TensorFlow writes a serialized HloModuleProto; the TPU compiler reads StableHLO. The
conversion between the two (jaxlib's `hlo_to_stablehlo`) does not know `copy`. Without
the edit the TPU compiler refuses every training step: "failed to legalize operation
'mhlo.copy'"; the step of BERT-mini has 236 copies. No library removes them.
"""

from tensorflow.compiler.xla.service import hlo_pb2


def read_module(serialized: bytes) -> hlo_pb2.HloModuleProto:
    """Parse what `experimental_get_compiler_ir` gives for stage="hlo_serialized"."""
    return hlo_pb2.HloModuleProto.FromString(serialized)


def drop_copies(module: hlo_pb2.HloModuleProto) -> None:
    """Drop all `copy` instructions, in place; here they only fix layouts."""
    for computation in module.computations:
        _drop_copies(computation)


def _drop_copies(computation) -> None:
    """Let the users of each `copy` use its operand."""
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
    replace_instructions(computation, kept)


def replace_instructions(computation, instructions) -> None:
    """Give a computation these instructions instead of its own."""
    copies = [
        hlo_pb2.HloInstructionProto.FromString(i.SerializeToString())
        for i in instructions
    ]
    del computation.instructions[:]
    computation.instructions.extend(copies)
