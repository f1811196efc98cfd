"""How often each token stands in the records: NAME.token_counts.npz beside them."""

import io
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np

from data_prep import storage
from data_prep.records import sequences as sequences_lib

SUFFIX = ".token_counts.npz"
# The name of a shard's counts among its statistics.
NAME = "token_counts"


def count_tokens(choices: sequences_lib.Sequences) -> list[int]:
    """Count the tokens that may be masked, before any is.

    Args:
        choices: sequences whose words are those that masking chooses from.

    Returns:
        Place i counts the tokens of id i; it ends after the highest id.
    """
    return np.bincount(choices.input_ids[choices.maskable]).tolist()


def write_counts(path: str, shards: Sequence[Sequence[int]], vocab_size: int) -> None:
    """Write the counts of an output.

    Args:
        path: NAME.token_counts.npz.
        shards: of each record file, in the manifest's order, see `count_tokens`.
        vocab_size: tokens in the vocabulary.
    """
    table = np.zeros((len(shards), vocab_size), np.int64)
    for row, counts in zip(table, shards, strict=True):
        row[: len(counts)] = counts
    file = io.BytesIO()
    # The same counts give the same bytes: numpy writes no date.
    np.savez_compressed(file, **{NAME: table})
    storage.write_whole(path, file.getvalue())


def read_counts(path: str) -> np.ndarray | None:
    """Read the counts of an output.

    Returns:
        int64 [record files, vocabulary], the files in the manifest's order; None if
        there is no such file.

    Raises:
        ValueError: it is damaged.
    """
    if not storage.exists(path):
        return None
    try:
        with np.load(io.BytesIO(storage.read_bytes(path))) as arrays:
            return arrays[NAME]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path!r} is not readable: make the records again with --overwrite."
        ) from error
