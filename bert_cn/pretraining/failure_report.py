"""The report on a loss that is not finite: the step, its records, and the remedy."""

import os

import tensorflow as tf

# The message names this many records; the file that it names lists them all.
_MOST_RECORDS_NAMED = 4


def describe_not_finite(
    step: int, saved: str | None, records: list[tuple[str, int]], output_dir: str
) -> str:
    """Return the message about a loss or gradient that is not finite, with remedies.

    Args:
        step: number of the update, the first being 1.
        saved: prefix of the last good checkpoint, if there is one.
        records: file and number of each record of the batch, the number from 1.
        output_dir: where the records are listed in a file.
    """
    kept = f"the last good checkpoint is {saved}" if saved else "nothing was saved"
    start = f" --init_checkpoint={saved} starts from those weights." if saved else ""
    path = _write_records(output_dir, step, records)
    first_file, first_number = records[0]
    shown = ", ".join(
        f"{os.path.basename(name)} {number}"
        for name, number in records[:_MOST_RECORDS_NAMED]
    )
    more = ", ..." if len(records) > _MOST_RECORDS_NAMED else ""
    return (
        f"The loss or its gradient is not finite in step {step}; {kept}. Lower "
        "--learning_rate or raise --num_warmup_steps, then run the command again with "
        f"another --output_dir.{start} The records of that batch ({shown}{more}) are "
        f"listed in {path}; python -m data_prep.inspect_records "
        f"--first_record={first_number} --num_records=1 {first_file} shows the first "
        "of them."
    )


def _write_records(output_dir: str, step: int, records: list[tuple[str, int]]) -> str:
    path = os.path.join(output_dir, f"records_of_step_{step}.txt")
    with tf.io.gfile.GFile(path, "w") as file:
        for name, number in records:
            file.write(f"{name}\t{number}\n")
    return path
