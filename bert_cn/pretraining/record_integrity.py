"""Record files are those that their manifest lists: by size, or by every byte."""

import concurrent.futures
from collections.abc import Callable, Mapping
from typing import Any

from data_prep import storage

# A bucket answers each question in some 50 ms, whoever asks besides.
_THREADS = 32
_REMEDY = (
    "copy it again, or run the command that made it again, which makes what is missing "
    "or damaged"
)


def check_sizes(shards: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse files that were cut, added to, or copied in part.

    Args:
        shards: path -> its entry in a manifest.

    Raises:
        ValueError: a file has another size than its manifest says.
    """

    def check(path: str) -> str:
        found, expected = storage.stat(path).length, shards[path]["bytes"]
        if found == expected:
            return ""
        return (
            f"{path} has {found:,} bytes, and its manifest says {expected:,}: "
            f"{_REMEDY}."
        )

    _raise_first(check, shards)


def check_bytes(shards: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse files whose bytes are not those that the data stage wrote.

    Args:
        shards: path -> its entry in a manifest.

    Raises:
        ValueError: a file has another sha256 than its manifest says.
    """

    def check(path: str) -> str:
        if storage.hash_file(path) == shards[path]["sha256"]:
            return ""
        return f"{path} has another sha256 than its manifest says: {_REMEDY}."

    _raise_first(check, shards)


def _raise_first(check: Callable[[str], str], paths) -> None:
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for message in pool.map(check, sorted(paths)):
            if message:
                raise ValueError(message)
