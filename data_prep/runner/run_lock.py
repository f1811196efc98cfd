"""One run at a time over an output: a second one is refused."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from data_prep.runner.outputs import Outputs


@contextlib.contextmanager
def hold_lock(outputs: Outputs) -> Iterator[None]:
    """Hold the lock of an output on this machine while the block runs.

    The lock is the operating system's, so it ends with the process, however that ends.
    Its file is removed at the end of the block.

    Raises:
        ValueError: another run holds it.
    """
    path = outputs.lock
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    while True:
        with open(path, "w", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"Another run is writing {outputs.manifest!r} now: wait for it, or "
                    "name another --output_file."
                ) from error
            if not _is_file_at(path, file.fileno()):
                continue  # An ending run removed the file after it was opened here.
            try:
                yield
            finally:
                os.remove(path)
            return


def _is_file_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
