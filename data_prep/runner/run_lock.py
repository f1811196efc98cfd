"""One run at a time over an output: a second one is refused."""

import contextlib
import os
from collections.abc import Iterator

import filelock

from data_prep.runner.outputs import Outputs


@contextlib.contextmanager
def hold_lock(outputs: Outputs) -> Iterator[None]:
    """Hold the lock of an output on this machine while the block runs.

    The lock is the operating system's, so it ends with the process, even if that is
    killed. Its file is removed at the end of the block.

    Raises:
        ValueError: another run holds it.
    """
    path = outputs.lock
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    try:
        lock = filelock.FileLock(path, timeout=0).acquire()
    except filelock.Timeout as error:
        raise ValueError(
            f"Another run is writing {outputs.manifest!r} now: wait for it, or name "
            "another --output_file."
        ) from error
    with lock:
        try:
            yield
        finally:
            # While the lock is still held. A run that opened the file before and locks
            # it afterwards gets nothing: filelock refuses a lock on a removed file.
            os.remove(path)
