"""Find what a TPU cannot do, or does slowly, in a graph before it is compiled."""

import dataclasses
import pathlib
from collections.abc import Iterator

import tensorflow as tf

_REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Ops that call the host's Python, or exchange data with the host.
_HOST_OPS = frozenset(
    {
        "EagerPyFunc",
        "PyFunc",
        "PyFuncStateless",
        "NumpyFunction",
        "HostCompute",
        "XlaHostCompute",
        "XlaSendToHost",
        "XlaRecvFromHost",
        "OutfeedEnqueue",
        "OutfeedEnqueueTuple",
        "Print",
        "PrintV2",
        "StringFormat",
        "ReadFile",
        "WriteFile",
    }
)
_DOUBLE = (tf.float64, tf.complex128)
# Their values are known when the step is compiled: the axes that a gradient is summed
# over, and a function's arguments, whose shapes the caller gives.
_KNOWN_WHEN_COMPILED = ("BroadcastGradientArgs", "Placeholder")
# 64-bit integers are pairs of 32-bit ones on a TPU. Step counters, and the keys and
# counters of random generators (at most 3 words), cost nothing; arrays do.
_LONG = (tf.int64, tf.uint64)
_MOST_LONGS = 3
_SHAPELESS = (tf.resource, tf.variant, tf.string)


@dataclasses.dataclass(frozen=True)
class Violation:
    """An op that does not belong into a TPU's step.

    Attributes:
        op: name and type.
        problem: what is wrong with it.
        line: "path:line" of our code that made it; "" if it was other code.
    """

    op: str
    problem: str
    line: str

    def __str__(self) -> str:
        place = f" ({self.line})" if self.line else ""
        return f"{self.op}: {self.problem}{place}"


def find_violations(graph: tf.Graph) -> list[Violation]:
    """Return what is wrong with a graph and the functions that it calls.

    That is: float64, arrays of int64, shapes that are not known before the step runs,
    and calls to the host.
    """
    found = []
    for op in walk_operations(graph):
        problems = dict.fromkeys(_find_problems(op))
        found += [
            Violation(f"{op.name} [{op.type}]", problem, find_line(op))
            for problem in problems
        ]
    return found


def walk_operations(graph: tf.Graph) -> Iterator[tf.Operation]:
    """Yield every operation of a graph and of the functions it calls, each once."""
    seen, waiting = set(), [graph]
    while waiting:
        here = waiting.pop()
        for op in here.get_operations():
            yield op
            for name in _list_called_functions(op):
                if name not in seen:
                    seen.add(name)
                    waiting.append(here._get_function(name).graph)


def _list_called_functions(op: tf.Operation) -> list[str]:
    names = []
    for value in op.node_def.attr.values():
        called = [value.func] if value.HasField("func") else value.list.func
        names += [function.name for function in called]
    return names


def _find_problems(op: tf.Operation) -> Iterator[str]:
    if op.type in _HOST_OPS:
        yield "calls back to the host"
    for output in op.outputs:
        if output.dtype in _DOUBLE:
            yield f"computes in {output.dtype.name}"
        if output.dtype in _SHAPELESS:
            continue
        if op.type in _KNOWN_WHEN_COMPILED:
            continue
        if not output.shape.is_fully_defined():
            yield f"has the dynamic shape {output.shape}"
        elif output.dtype in _LONG and output.shape.num_elements() > _MOST_LONGS:
            yield f"computes {output.dtype.name} of shape {output.shape}"


def find_line(op: tf.Operation) -> str:
    """Return the innermost line of this repository that made an op, "path:line"."""
    for frame in reversed(op.traceback or ()):
        path = pathlib.Path(frame.filename)
        if path.is_relative_to(_REPOSITORY) and "site-packages" not in path.parts:
            return f"{path.relative_to(_REPOSITORY)}:{frame.lineno}"
    return ""
