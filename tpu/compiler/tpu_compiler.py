"""The TPU compiler in libtpu, on a machine without a TPU.

It runs in a process of its own (`tpu.compiler.compile_worker`), because jax and
TensorFlow disturb each other in one process.
"""

import dataclasses
import importlib.util
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from tpu.compiler import slices

_INSTALL = "pip install 'bert_cn[preflight]'"
# Messages of libtpu 0.0.52: about temporaries alone, and about all of the memory.
_OUT_OF_MEMORY = (
    r"\((\S+)\) exceeds available HBM \((\S+)\)",
    r"Ran out of memory in memory space hbm\. Used (\S+) of (\S+) hbm",
)
_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Program:
    """One replica's compiled step; sizes in bytes.

    Attributes:
        arguments: weights, optimizer state and the batch.
        outputs: new weights, optimizer state and the results of the step.
        aliases: the part of the outputs that takes the memory of an argument.
        temporaries: activations and gradients, when they take the most memory.
        program: instructions and constants.
        flops: floating-point operations of one step.
        bytes_accessed: memory traffic of one step.
        reduced_bytes: bytes that each replica adds to the all-reduces of one step.
        compile_seconds: the time of the compilation.
    """

    arguments: int
    outputs: int
    aliases: int
    temporaries: int
    program: int
    flops: float
    bytes_accessed: float
    reduced_bytes: int
    compile_seconds: float

    @property
    def memory(self) -> int:
        """Bytes of the device that the step needs."""
        return (
            self.arguments
            + self.outputs
            - self.aliases
            + self.temporaries
            + self.program
        )


class CompilerRefusal(ValueError):
    """The compiler cannot compile the step; its message."""


class OutOfMemory(CompilerRefusal):
    """The step needs more memory than a device has.

    Attributes:
        used: gibibytes that the step needs, such as "18.92G".
        capacity: gibibytes that a program may use, such as "15.48G".
    """

    def __init__(self, used: str, capacity: str):
        super().__init__(f"needs {used} of {capacity}")
        self.used = used
        self.capacity = capacity


def check_installed() -> None:
    """Raise ValueError if the compiler is not installed."""
    missing = [n for n in ("jax", "libtpu") if not importlib.util.find_spec(n)]
    if missing:
        raise ValueError(
            f"The TPU compiler is not installed ({' and '.join(missing)} missing): run "
            f"{_INSTALL}, on Linux x86-64."
        )


def compile_module(
    serialized: bytes,
    where: slices.Slice,
    num_replicas: int = 1,
    text_file: str = "",
    python: str = sys.executable,
) -> Program:
    """Compile a serialized HloModuleProto for one replica of a slice.

    Args:
        serialized: the module, from `step_lowering`.
        where: the slice.
        num_replicas: the number of its devices that run the program together.
        text_file: a file for the text of the compiled program; "" for none.
        python: the Python of the environment that has the compiler.

    Raises:
        OutOfMemory: it does not fit.
        CompilerRefusal: the compiler refuses it for another reason.
        ValueError: this machine has too little memory to compile it.
    """
    with tempfile.NamedTemporaryFile(suffix=".hlo.pb") as file:
        file.write(serialized)
        file.flush()
        request = {
            "hlo_file": file.name,
            "topology": where.topology_name,
            "topology_options": where.chip.topology_options,
            "num_replicas": num_replicas,
            "text_file": text_file,
        }
        done = subprocess.run(
            [python, "-m", "tpu.compiler.compile_worker"],
            cwd=_REPOSITORY,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode == -signal.SIGKILL:
        raise ValueError(
            "The TPU compiler's process was killed, as Linux does if memory runs out: "
            "end other programs, or take a machine with more (a giant of batch 8 and "
            "length 512 takes some 18 GB)."
        )
    if done.returncode:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CompilerRefusal(
            f"The TPU compiler's process ended with code {done.returncode}: {last_line}"
        )
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise _describe_error(answer["error"])
    program = Program(
        **answer["memory"],
        flops=answer["flops"],
        bytes_accessed=answer["bytes_accessed"],
        reduced_bytes=answer["reduced_bytes"],
        compile_seconds=answer["seconds"],
    )
    check_memory(program, where.chip.usable_bytes)
    return program


def add_micro_batches(program: Program, micro_batch: Program, count: int) -> Program:
    """Return a program with the costs of all micro-batches.

    The compiler counts the body of a loop once, however often it runs.

    Args:
        program: the step, with a loop over micro-batches.
        micro_batch: the body of the loop, compiled by itself.
        count: the number of micro-batches.
    """
    more = count - 1
    return dataclasses.replace(
        program,
        flops=program.flops + more * micro_batch.flops,
        bytes_accessed=program.bytes_accessed + more * micro_batch.bytes_accessed,
        compile_seconds=program.compile_seconds + micro_batch.compile_seconds,
    )


def check_memory(program: Program, usable_bytes: float) -> None:
    """Raise OutOfMemory if a program needs more than a device has.

    One of the compiler's own checks counts only the temporaries.
    """
    if program.memory > usable_bytes:
        raise OutOfMemory(
            *(f"{size / slices.GIB:.2f}G" for size in (program.memory, usable_bytes))
        )


def _describe_error(message: str) -> CompilerRefusal:
    for pattern in _OUT_OF_MEMORY:
        exhausted = re.search(pattern, message)
        if exhausted:
            return OutOfMemory(exhausted[1], exhausted[2])
    return CompilerRefusal(message)
