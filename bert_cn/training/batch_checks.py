"""Check that a run's batches suit its flags, the devices, the model and memory."""

import contextlib
import errno
import os
from collections.abc import Iterator

import tensorflow as tf

from bert_cn.model import config as config_lib


def check_positions(max_seq_length: int, config: config_lib.BertConfig) -> None:
    """Raise ValueError if sequences are longer than the model's positions."""
    if max_seq_length > config.max_length:
        raise ValueError(
            f"--max_seq_length={max_seq_length} is over the model's "
            f"max_position_embeddings={config.max_position_embeddings}; shorten the "
            "sequences or raise it in the bert_config.json."
        )


def check_batch_sizes(
    sizes: dict[str, int], num_replicas: int, accumulation_steps: int = 1
) -> None:
    """Raise ValueError if a batch cannot be divided evenly.

    Args:
        sizes: flag name -> records per batch, for the flags that are used. A replica's
            share of `train_batch_size` must also divide into micro-batches.
        num_replicas: devices that share each batch.
        accumulation_steps: micro-batches of a replica's share, the value of
            --gradient_accumulation_steps.
    """
    for name, size in sizes.items():
        if size % num_replicas:
            raise ValueError(
                f"--{name}={size} cannot be shared by {num_replicas} replicas: "
                f"make it a multiple of {num_replicas}."
            )
    micro_batches = num_replicas * accumulation_steps
    if sizes.get("train_batch_size", 0) % micro_batches:
        raise ValueError(
            f"--train_batch_size={sizes['train_batch_size']} cannot be divided into "
            f"--gradient_accumulation_steps={accumulation_steps} micro-batches on "
            f"{num_replicas} replica(s): make it a multiple of {micro_batches}."
        )


def check_jit_compile(jit_compile: bool, strategy: tf.distribute.Strategy) -> None:
    """Raise ValueError if --jit_compile is set under a distribution strategy."""
    if jit_compile and strategy is not tf.distribute.get_strategy():
        raise ValueError(
            f"--jit_compile does not work under a {type(strategy).__name__}, which "
            "several devices and TPUs need: leave it out (a TPU compiles anyway), or "
            "train on one device."
        )


@contextlib.contextmanager
def explain_memory(
    flag: str, batch_size: int, max_seq_length: int, advice: str
) -> Iterator[None]:
    """Turn the error of a device's full memory into a sentence; a full disk is another.

    Args:
        flag: the name of the flag that sets the batch size.
        batch_size: records per batch.
        max_seq_length: tokens per record.
        advice: the end of the sentence.

    Raises:
        ValueError: out of memory; the message names the batch.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        if os.strerror(errno.ENOSPC) in error.message:
            raise
        raise ValueError(
            f"Out of memory with --{flag}={batch_size} and "
            f"--max_seq_length={max_seq_length}: {advice}"
        ) from error
