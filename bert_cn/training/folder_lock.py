"""One training at a time in a folder: a second one would overwrite its checkpoints."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator

import filelock

from data_prep import storage

LOCK_FILE = ".training.lock"
# Who holds it. A file of its own, because whoever tries the lock empties its file.
_HOLDER_FILE = ".training.json"


@contextlib.contextmanager
def hold_folder(folder: str) -> Iterator[None]:
    """Hold a folder while the block runs.

    The lock is the operating system's, so it ends with the process, even if that is
    killed. A remote folder has no lock, nor has one that cannot be written to, which
    others refuse in words of their own.

    Args:
        folder: of a run's output; made if it is not there.

    Raises:
        ValueError: another process holds it; the message names host and process.
    """
    if storage.is_remote(folder):
        yield
        return
    is_new = not os.path.isdir(folder)
    path = os.path.join(folder, LOCK_FILE)
    try:
        os.makedirs(folder, exist_ok=True)
        lock = filelock.FileLock(path, timeout=0).acquire()
    except filelock.Timeout as error:
        raise ValueError(
            f"Another run is writing into {folder!r} now{_describe_holder(folder)}: "
            "wait for it, end it, or name another --output_dir."
        ) from error
    except OSError:
        lock = None
    if lock is None:
        yield
        return
    holder = os.path.join(folder, _HOLDER_FILE)
    with lock:
        values = {"host": socket.gethostname(), "process": os.getpid()}
        storage.write_whole(holder, json.dumps(values))
        try:
            yield
        finally:
            # While the lock is still held: filelock refuses a lock on a removed file.
            for name in (holder, path):
                with contextlib.suppress(OSError):
                    os.remove(name)
            if is_new:
                # A run that was refused leaves nothing.
                with contextlib.suppress(OSError):
                    os.rmdir(folder)


def _describe_holder(folder: str) -> str:
    try:
        values = storage.parse_json(
            storage.read_bytes(os.path.join(folder, _HOLDER_FILE))
        )
        return f" (process {int(values['process'])} on {values['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
