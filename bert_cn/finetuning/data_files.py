"""Read a task's files, and say what is wrong with one that cannot be read."""

import os

from data_prep import storage

_SHOWN = 8


def read_bytes(path: str) -> bytes:
    """Return a file's content.

    Args:
        path: local or any that `tf.io.gfile` opens.

    Raises:
        ValueError: it is not there, or it is a folder.
    """
    try:
        return storage.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        folder = os.path.dirname(path) or "."
        found = f"there is no folder {folder!r}"
        if storage.isdir(path):
            found = "it is a folder"
        elif storage.isdir(folder):
            names = sorted(storage.listdir(folder))
            found = f"its folder holds {', '.join(names[:_SHOWN]) or 'nothing'}"
        raise ValueError(
            f"{path} cannot be read ({found}): name a file that is there."
        ) from error


def read_lines(path: str) -> list[str]:
    """Return the lines of a UTF-8 file, without their ends; line 1 is the first.

    Not splitlines(): texts may hold U+2028 and the like.

    Raises:
        ValueError: it is not there, a folder, or not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 at byte {error.start}: convert it to UTF-8."
        ) from error
    return [line.removesuffix("\r") for line in text.split("\n")]
