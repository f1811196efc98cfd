"""The documents of a bucket, without the lines that are removed."""

import numpy as np

from data_prep.runner import repeated_lines, spill
from data_prep.runner.job import Job
from data_prep.text import counts as counts_lib


def load(job: Job, bucket: int) -> tuple[list[str], list[int], counts_lib.Counts]:
    """Return a bucket's documents in the order of their hashes, copies, and counts.

    A document that loses all its lines is an empty text, so that places stay.
    """
    texts, copies = spill.load_bucket(job, bucket)
    if not job.settings.drop_repeated_lines:
        return texts, copies, {}
    repeated = np.load(job.repeated_lines_path)
    texts, removed = repeated_lines.remove(texts, repeated)
    return texts, copies, {"repeated_lines_dropped": removed}


def leave_out(
    texts: list[str], copies: list[int], dropped: set[int]
) -> list[tuple[str, int]]:
    """Return texts and copies, without empty texts and those of some places."""
    return [
        (text, times)
        for place, (text, times) in enumerate(zip(texts, copies, strict=True))
        if text and place not in dropped
    ]
