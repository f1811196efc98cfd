"""The functions of `tf.io.gfile`, without TensorFlow if a path is on this machine.

Importing TensorFlow takes seconds of CPU time in each process, and local files do not
need it. `gs://` and other remote paths go through `tf.io.gfile`.
"""

import builtins
import contextlib
import dataclasses
import glob as glob_lib
import hashlib
import io
import json
import os
import shutil
import stat as stat_lib

_HASH_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Status:
    """The result of `stat`, under gfile's names.

    Attributes:
        length: bytes.
        mtime_nsec: time of the last change, in nanoseconds.
    """

    length: int
    mtime_nsec: int


def is_remote(path: str) -> bool:
    """Say whether a path goes through `tf.io.gfile`."""
    return "://" in path


def open(path: str, mode: str):
    """Open a file for a `with` statement; text is UTF-8, line ends stay as they are."""
    if is_remote(path):
        return _gfile().GFile(path, mode)
    return _open_local(path, mode)


@contextlib.contextmanager
def open_seekable(path: str):
    """Open a file for reading bytes by libraries that want one of Python's own."""
    with open(path, "rb") as file:
        if not is_remote(path):
            yield file
            return
        with io.BufferedReader(_RawFile(file), _HASH_BYTES) as buffered:
            yield buffered


class _RawFile(io.RawIOBase):
    """A `GFile` with the interface of Python's files."""

    def __init__(self, file):
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()


@contextlib.contextmanager
def _open_local(path: str, mode: str):
    if mode.startswith("r"):
        check_regular(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        with builtins.open(path, mode, **text) as file:
            yield file
    except OSError as error:
        # An error of a write, such as a full disk, does not name the file by itself.
        error.filename = error.filename or path
        raise


def check_regular(path: str) -> None:
    """Refuse a local pipe or device, of which reading may never end.

    A folder, or a path where nothing is, is left to whoever opens it.

    Raises:
        ValueError: it is one.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if not (stat_lib.S_ISREG(mode) or stat_lib.S_ISDIR(mode)):
        raise ValueError(f"{path!r} is a pipe or a device: name a file.")


def read_bytes(path: str) -> bytes:
    """Return a file's bytes.

    Raises:
        ValueError: it is a pipe or a device.
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
    """
    if not is_remote(path):
        check_regular(path)
        with builtins.open(path, "rb") as file:
            return file.read()
    if not exists(path):
        raise FileNotFoundError(2, "No such file", path)
    if isdir(path):
        raise IsADirectoryError(21, "Is a folder", path)
    with _gfile().GFile(path, "rb") as file:
        return file.read()


def join_named(folder: str, name, where: str) -> str:
    """Join a folder and the name that a file gives to another one in it.

    Args:
        folder: local or remote.
        name: what stands in the file, of any type.
        where: the file, for the message.

    Raises:
        ValueError: the name is none of a file in the folder itself, such as
            "../other" or "/etc/passwd".
    """
    is_name = isinstance(name, str) and os.path.basename(name) == name
    if not is_name or name in ("", ".", "..") or "\\" in name or "\0" in name:
        raise ValueError(
            f"{where} names {str(name)[:80]!r}, which is no file beside it: it is "
            "damaged or hostile, so take it from a source that you trust."
        )
    return os.path.join(folder, name)


def read_json(path: str):
    """Return the content of a JSON file; errors are those of what it calls."""
    return parse_json(read_bytes(path))


def parse_json(text: str | bytes):
    """Return the content of JSON.

    Raises:
        ValueError: it is none, or is nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def hash_file(path: str) -> str:
    """Return the sha256 of a file's bytes in hexadecimal, without holding them all."""
    with open(path, "rb") as file:
        if not is_remote(path):
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256()  # GFile has no readinto, which file_digest needs.
        while block := file.read(_HASH_BYTES):
            digest.update(block)
        return digest.hexdigest()


def write_whole(path: str, data: bytes | str) -> None:
    """Write a file that nobody sees half-written; an earlier one is replaced.

    The data go to a temporary name beside it, which is then renamed. The name holds the
    process's number, so that two processes that write the same file do not mix theirs.

    Args:
        path: local or remote.
        data: the whole content; text is written as UTF-8.

    Raises:
        OSError: it cannot be written; an earlier file at `path` is still there.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    partial = f"{path}.{os.getpid()}.partial"
    try:
        with open(partial, "wb") as file:
            file.write(content)
    except BaseException:
        with contextlib.suppress(Exception):
            remove(partial)
        raise
    rename(partial, path, overwrite=True)


def exists(path: str) -> bool:
    """Say whether a file or folder exists."""
    return _gfile().exists(path) if is_remote(path) else os.path.exists(path)


def isdir(path: str) -> bool:
    """Say whether a path is a folder."""
    return _gfile().isdir(path) if is_remote(path) else os.path.isdir(path)


def stat(path: str) -> Status:
    """Return a file's length and time of change."""
    if is_remote(path):
        found = _gfile().stat(path)
        return Status(found.length, found.mtime_nsec)
    local = os.stat(path)
    return Status(local.st_size, local.st_mtime_ns)


def glob(pattern: str) -> list[str]:
    """Return the paths that match; ** matches any folders on a local disk."""
    if is_remote(pattern):
        return _gfile().glob(pattern)
    return glob_lib.glob(pattern, recursive=True)


def listdir(path: str) -> list[str]:
    """Return the names in a folder."""
    return _gfile().listdir(path) if is_remote(path) else os.listdir(path)


def walk(folder: str) -> list[str]:
    """Return the paths of all files in a folder and the folders below it, sorted."""
    walked = _gfile().walk(folder) if is_remote(folder) else os.walk(folder)
    return sorted(os.path.join(top, name) for top, _, names in walked for name in names)


def makedirs(path: str) -> None:
    """Make a folder and those above it if they do not exist."""
    if is_remote(path):
        _gfile().makedirs(path)
    else:
        os.makedirs(path, exist_ok=True)


def rename(source: str, target: str, overwrite: bool = False) -> None:
    """Rename a file; replace the target only with `overwrite`."""
    if is_remote(source):
        _gfile().rename(source, target, overwrite)
    elif overwrite or not os.path.exists(target):
        os.replace(source, target)
    else:
        raise FileExistsError(17, "File exists", target)


def remove(path: str) -> None:
    """Remove a file."""
    if is_remote(path):
        _gfile().remove(path)
    else:
        os.remove(path)


def rmtree(path: str) -> None:
    """Remove a folder and everything in it."""
    if is_remote(path):
        _gfile().rmtree(path)
    else:
        shutil.rmtree(path)


def _gfile():
    import tensorflow as tf

    return tf.io.gfile
