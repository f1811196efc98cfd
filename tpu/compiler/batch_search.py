"""Find the largest batch that fits, in few compilations."""

from collections.abc import Callable

from tpu.compiler import tpu_compiler

# A TPU works on eight rows at a time, and pads other batches to a multiple of eight.
_ROWS = 8


def find_largest_batch(
    compile_batch: Callable[[int], tpu_compiler.Program],
    first: int,
    memory_bytes: float,
    multiple: int = 1,
) -> tuple[int, tpu_compiler.Program | None]:
    """Return the largest batch that fits, and its program; 0 and None if none does.

    Tries multiples of 8, then 4, 2 and 1, all of them times `multiple`. The compiler
    decides which fit.

    Args:
        compile_batch: compiles for a batch; raises OutOfMemory if it does not fit.
        first: the batch to begin with.
        memory_bytes: the bytes that a program may use; guesses start from it.
        multiple: every batch is a multiple of it, such as the number of micro-batches.
    """
    step = _ROWS * multiple
    fitting: dict[int, tpu_compiler.Program] = {}
    refused = None
    surprises = 0
    guess = max(first // step, 1) * step
    while refused is None or refused - max(fitting, default=0) > step:
        try:
            fitting[guess] = compile_batch(guess)
        except tpu_compiler.OutOfMemory:
            refused = guess
        guess = _next_guess(fitting, refused, memory_bytes, step)
        if guess in fitting:
            # Near its limit the compiler computes values again instead of keeping them,
            # so more may fit than the line predicts: try steps that double.
            guess += step * 2**surprises
            surprises += 1
        if refused is not None and guess >= refused:
            guess = (max(fitting, default=0) + refused) // 2 // step * step
    if fitting:
        return max(fitting.items())
    for rows in (4, 2, 1):
        try:
            return rows * multiple, compile_batch(rows * multiple)
        except tpu_compiler.OutOfMemory:
            continue
    return 0, None


def _next_guess(fitting, refused, memory_bytes, step) -> int:
    """Return the largest batch on a line through the two largest that fit."""
    if not fitting:
        return max(refused // 2 // step, 1) * step
    *_, (low, smaller), (high, larger) = [(0, None), *sorted(fitting.items())]
    if high < 2 * low or smaller is None:
        # The safe guess is that all temporaries grow with the batch: near the limit, a
        # line through two batches that are close is nearly flat.
        slope = larger.temporaries / high
    else:
        slope = (larger.memory - smaller.memory) / (high - low)
    room = max(memory_bytes - larger.memory, 0)
    return high + (int(room / slope) // step * step if slope > 0 else 0)
