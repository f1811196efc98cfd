"""Compile one HLO module with the TPU compiler of libtpu, in a process with jax.

    python -m tpu.compiler.compile_worker < request.json > answer.json

`tpu_compiler` starts it, not the user: jax and TensorFlow do not share a process.
"""

import json
import math
import os
import re
import sys
import time

# Do not look for a TPU: this machine has none, and there is no metadata server.
os.environ["TPU_SKIP_MDS_QUERY"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"
# Without this, libtpu's lock makes a second compilation at the same time fail.
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    # libtpu and jax write to standard output, too; only the answer may go there.
    answer_to = os.dup(1)
    os.dup2(2, 1)
    answer = compile_module(request)
    with os.fdopen(answer_to, "w") as stream:
        json.dump(answer, stream)


def compile_module(request: dict) -> dict:
    """Compile a module for a slice.

    Args:
        request: `hlo_file`, a serialized HloModuleProto; `topology` and
            `topology_options`, the arguments of `get_topology_desc`; `num_replicas`,
            the number of the slice's devices that run it; `text_file`, a file for the
            text of the compiled program, or none.

    Returns:
        `memory`, bytes by their purpose; `flops` and `bytes_accessed` of one step;
        `reduced_bytes`, which each replica adds to all-reduces; and `seconds` of the
        compilation. Or `error`, the compiler's message.
    """
    import numpy as np
    from jax._src.interpreters import mlir
    from jax.experimental import topologies
    from jaxlib import _jax, xla_client
    from jaxlib.mlir import ir

    started = time.monotonic()
    topology = topologies.get_topology_desc(
        platform="tpu",
        topology_name=request["topology"],
        **request["topology_options"],
    )
    devices = topology.devices[: request["num_replicas"]]
    with open(request["hlo_file"], "rb") as file:
        stablehlo = _jax.mlir.hlo_to_stablehlo(file.read())
    context = mlir.make_ir_context()
    module = ir.Module.parse(stablehlo, context)
    options = xla_client.CompileOptions()
    options.num_replicas = len(devices)
    options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(
        np.array([[device.id] for device in devices], np.int32)
    )
    try:
        executable = devices[0].client.compile(
            module, xla_client.DeviceList(tuple(devices)), options
        )
    except _jax.JaxRuntimeError as error:
        return {"error": str(error), "seconds": time.monotonic() - started}
    program = executable.hlo_modules()[0].to_string()
    if request.get("text_file"):
        with open(request["text_file"], "w") as file:
            file.write(program)
    costs = executable.cost_analysis()
    return {
        "memory": _describe_memory(executable.get_compiled_memory_stats()),
        "flops": costs["flops"],
        "bytes_accessed": costs["bytes accessed"],
        "reduced_bytes": count_reduced_bytes(program),
        "seconds": time.monotonic() - started,
    }


def _describe_memory(stats) -> dict[str, int]:
    return {
        "arguments": stats.argument_size_in_bytes,
        "outputs": stats.output_size_in_bytes,
        "aliases": stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "program": stats.generated_code_size_in_bytes,
    }


_ALL_REDUCE = re.compile(r"^ *(?:ROOT )?%[\w.-]+ = (.*?) all-reduce(?:-start)?\(", re.M)
_SHAPE = re.compile(r"\b(f32|bf16|s32|u32)\[([\d,]*)\]")
_ITEM_SIZES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4}


def count_reduced_bytes(program: str) -> int:
    """Add up the bytes of the results of all all-reduces in an HLO text."""
    total = 0
    for shapes in _ALL_REDUCE.findall(program):
        for dtype, dimensions in _SHAPE.findall(shapes):
            sizes = [int(size) for size in dimensions.split(",") if size]
            total += math.prod(sizes) * _ITEM_SIZES[dtype]
    return total


if __name__ == "__main__":
    main()
