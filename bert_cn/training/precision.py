"""Choose the dtype of computation that is fast on the devices of a run."""

import math
import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from bert_cn.training import choices

FLOAT32, BFLOAT16, AUTO = choices.PRECISIONS
# GPUs before Ampere have no bfloat16 units.
# https://docs.nvidia.com/cuda/ampere-tuning-guide/, "Improved Tensor Core Operations"
_FIRST_CAPABILITY_WITH_BFLOAT16 = (8, 0)
# bfloat16 also costs casts, so its products must be faster by more than this.
_LEAST_GAIN = 1.25
# The product of a batch of 8 x 128 tokens with a small BERT's kernel.
_ROWS, _WIDTH, _COLUMNS = 1024, 256, 1024
_WARM_UP_TURNS = 3
_MOST_TURNS = 30
# Where bfloat16 is emulated a product may take a second.
_MOST_SECONDS = 0.5


def choose_precision(
    precision: str, tpu: str = "", jit_compile: bool = False, begun_with: str = ""
) -> str:
    """Return the Keras dtype policy of a run, and print a line if it was chosen here.

    A TPU, and a GPU from NVIDIA's Ampere on, computes in bfloat16. A CPU is asked: some
    processors multiply bfloat16 twice as fast as float32, some at half its speed, and
    those without instructions for it far slower still.

    Args:
        precision: one of `choices.PRECISIONS`.
        tpu: value of --tpu.
        jit_compile: whether XLA compiles the step; its products are then measured.
        begun_with: the policy that a run to be resumed was begun with, which it keeps,
            since weights depend on it; "" for none.

    Returns:
        "float32" or "mixed_bfloat16".
    """
    if precision != AUTO:
        return precision
    if begun_with:
        return begun_with
    if tpu:
        return BFLOAT16
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        chosen, reason = _choose_for_gpus(gpus)
    else:
        chosen, reason = _choose_for_cpu(jit_compile)
    print(f"--precision={AUTO}: {chosen} ({reason}).", flush=True)
    return chosen


def _choose_for_gpus(gpus: list[tf.config.PhysicalDevice]) -> tuple[str, str]:
    """Return the policy, and why."""
    capabilities = [
        tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        for gpu in gpus
    ]
    # Hosts of a cluster must agree, so nothing is measured here.
    oldest = min(capabilities)
    name = ".".join(map(str, oldest))
    if oldest >= _FIRST_CAPABILITY_WITH_BFLOAT16:
        return BFLOAT16, f"the GPU has units for it, compute capability {name}"
    return FLOAT32, f"compute capability {name} has no units for bfloat16"


def _choose_for_cpu(jit_compile: bool) -> tuple[str, str]:
    """Return the policy, and why."""
    if os.environ.get("TF_CONFIG"):
        # Measurements of several hosts may differ, and their policies must not.
        return FLOAT32, "several hosts compute on CPUs"
    ratio = _compare_products(jit_compile)
    chosen = BFLOAT16 if ratio * _LEAST_GAIN < 1 else FLOAT32
    return chosen, (
        f"products in bfloat16 take {ratio:.2g} times as long as in float32 on this "
        "processor"
    )


def _compare_products(jit_compile: bool) -> float:
    """Return how many times as long a product takes in bfloat16 as in float32.

    Other programs disturb it, so the two take turns and the fastest of each counts.
    """
    products = [
        _build_product(dtype, jit_compile) for dtype in (tf.bfloat16, tf.float32)
    ]
    fastest = [math.inf, math.inf]
    start = time.perf_counter()
    for turn in range(_MOST_TURNS):
        for i, multiply in enumerate(products):
            before = time.perf_counter()
            multiply()
            # The first turns warm threads and caches.
            if turn >= _WARM_UP_TURNS:
                fastest[i] = min(fastest[i], time.perf_counter() - before)
        if turn >= _WARM_UP_TURNS and time.perf_counter() - start > _MOST_SECONDS:
            break
    return fastest[0] / fastest[1]


def _build_product(dtype: tf.DType, jit_compile: bool) -> Callable[[], np.ndarray]:
    """Return a function that computes a matrix product."""
    multiply = tf.function(tf.matmul, jit_compile=jit_compile)
    left = tf.fill([_ROWS, _WIDTH], tf.constant(0.5, dtype))
    right = tf.fill([_WIDTH, _COLUMNS], tf.constant(0.5, dtype))
    return lambda: multiply(left, right).numpy()
