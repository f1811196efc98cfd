"""What a user is told where training fails."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

from bert_cn.pretraining import train_loop

# A message names so many records; the file that it names has them all.
_MOST_RECORDS_NAMED = 4


@contextlib.contextmanager
def explain(
    batch_size: int,
    max_seq_length: int,
    locate: Callable[[int], list[tuple[str, int]]],
    output_dir: str,
) -> Iterator[None]:
    """Turn what training raises into what to do.

    Args:
        batch_size: records per update.
        max_seq_length: tokens per record.
        locate: finds file and number of the records of a step, see
            `train_input.TrainInput.locate`.
        output_dir: where the records of a bad batch are listed.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the message names the step
            and the records.
        ValueError: out of memory; the message names the batch.
    """
    try:
        with explain_memory(
            batch_size,
            max_seq_length,
            "raise --gradient_accumulation_steps (the result stays the same), or lower "
            "one of the two. The checkpoints are as they were.",
        ):
            yield
    except train_loop.NotFiniteError as error:
        records = locate(error.step)
        path = _write_records(output_dir, error.step, records)
        path_of_first, number = records[0]
        shown = ", ".join(
            f"{os.path.basename(name)} {number}"
            for name, number in records[:_MOST_RECORDS_NAMED]
        )
        more = ", ..." if len(records) > _MOST_RECORDS_NAMED else ""
        raise FloatingPointError(
            f"{error} The records of that batch ({shown}{more}) are listed in {path}; "
            f"python -m data_prep.inspect_records --first_record={number} "
            f"--num_records=1 {path_of_first} shows the first of them."
        ) from error


@contextlib.contextmanager
def explain_memory(
    batch_size: int, max_seq_length: int, advice: str, flag: str = "train_batch_size"
) -> Iterator[None]:
    """Turn the error of a device's full memory into a sentence; a full disk is another.

    Args:
        batch_size: records per update, or per batch of an evaluation.
        max_seq_length: tokens per record.
        advice: the end of the sentence.
        flag: which sets the batch size.

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


def _write_records(output_dir: str, step: int, records: list[tuple[str, int]]) -> str:
    path = os.path.join(output_dir, f"records_of_step_{step}.txt")
    with tf.io.gfile.GFile(path, "w") as file:
        for name, number in records:
            file.write(f"{name}\t{number}\n")
    return path
