"""Checkpoint folders: read them from anywhere, write them whole or not at all."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from data_prep import storage

# Files that every reader of a format asks for first; written last and in this order, so
# that a folder on a remote file system without them is recognisably unfinished.
_LAST_WRITTEN = ("modules.json", "bert_config.json", "config.json")
# Between the name of an output folder and random letters, in hidden folders beside it.
_UNFINISHED, _OLD = ".unfinished-", ".old-"


def join(folder: str, *names: str) -> str:
    """Join a folder and names; "" stands for the current folder."""
    return os.path.join(folder or ".", *names)


def exists(folder: str, *names: str) -> bool:
    """Say whether a file or folder is there."""
    return tf.io.gfile.exists(join(folder, *names))


def latest_checkpoint(folder: str) -> str | None:
    """Return the newest TensorFlow checkpoint of a folder, as its state file says.

    Raises:
        ValueError: the state file names one of another folder.
    """
    found = tf.train.latest_checkpoint(folder)
    if found is None:
        return None
    here = join(folder, os.path.basename(found))
    if not exists(here + ".index") and not exists(here):
        raise ValueError(
            f"{join(folder, 'checkpoint')} names {found}, which is not in this folder: "
            "name that checkpoint itself, or put it here."
        )
    return here


def list_folder(folder: str) -> list[str]:
    """Return the names in a folder, sorted; none if there is no such folder."""
    if not tf.io.gfile.isdir(folder):
        return []
    return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder))


def read_json(path: str) -> dict:
    """Read a JSON object.

    Raises:
        ValueError: the file is missing or is no JSON object.
    """
    if not storage.is_remote(path):
        storage.check_regular(path)
    try:
        with tf.io.gfile.GFile(path, "r") as file:
            values = storage.parse_json(file.read())
    except tf.errors.OpError as error:
        raise ValueError(f"{path} cannot be read: put the file there.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file ({error}): repair it.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: a JSON object is needed, found a {type(values)}.")
    return values


def write_json(path: str, values: dict | list) -> None:
    """Write a JSON value to a local file."""
    text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True)
    storage.write_whole(path, f"{text}\n")


@contextlib.contextmanager
def local_copy(folder: str, names: Iterable[str]) -> Iterator[str]:
    """Yield a local folder with these files, for libraries that open local paths only.

    A local folder is yielded as it is. From a remote one, the files that exist are
    copied to a temporary folder. It is removed at the end, but a file that is still
    open then stays readable.
    """
    if not storage.is_remote(folder):
        yield folder or "."
        return
    with tempfile.TemporaryDirectory(prefix="bert_cn_") as local:
        for name in names:
            if exists(folder, name):
                target = os.path.join(local, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                tf.io.gfile.copy(join(folder, name), target, overwrite=True)
        yield local


def write_folder(
    output_dir: str,
    write: Callable[[str], None],
    overwrite: bool,
    may_replace: Callable[[str], bool],
) -> None:
    """Write a folder that is either whole or not there.

    Args:
        output_dir: the folder to make.
        write: called with the path of an empty local folder that it fills.
        overwrite: whether a folder with files in it may be replaced.
        may_replace: takes a path in the old folder; whether it may be deleted.

    Raises:
        ValueError: the folder has files and overwrite is off, or it holds a file that
            may not be deleted.
    """
    if storage.is_remote(output_dir):
        check_output_folder(output_dir, overwrite, may_replace)
        with tempfile.TemporaryDirectory(prefix="bert_cn_") as local:
            write(local)
            _upload(local, output_dir)
        return
    output_dir = os.path.abspath(output_dir)
    parent, name = os.path.split(output_dir)
    os.makedirs(parent, exist_ok=True)
    _remove_stale(parent, name)
    check_output_folder(output_dir, overwrite, may_replace)
    temporary = tempfile.mkdtemp(prefix=f".{name}{_UNFINISHED}", dir=parent)
    try:
        with _locked(temporary):
            write(temporary)
            # mkdtemp makes folders that only their owner may enter.
            make_readable(temporary)
            if os.path.isdir(output_dir):
                old = tempfile.mkdtemp(prefix=f".{name}{_OLD}", dir=parent)
                os.rename(output_dir, os.path.join(old, name))
                os.rename(temporary, output_dir)
                shutil.rmtree(old)
            else:
                os.rename(temporary, output_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Hold the lock that says a folder is being written; a killed process loses it.

    Yields whether it is held. It is not if somebody else holds it, nor on a file system
    without locks, where no folder ever counts as stale.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _remove_stale(parent: str, name: str) -> None:
    """Remove what killed runs left beside an output folder.

    A run that was killed between its two renames left the older conversion aside; that
    one is put back.
    """
    for left in sorted(os.listdir(parent)):
        path = os.path.join(parent, left)
        if left.startswith(f".{name}{_UNFINISHED}"):
            with _locked(path) as is_stale:
                if is_stale:
                    shutil.rmtree(path, ignore_errors=True)
        elif left.startswith(f".{name}{_OLD}"):
            older = os.path.join(path, name)
            if os.path.isdir(older) and not os.path.exists(os.path.join(parent, name)):
                os.rename(older, os.path.join(parent, name))
            shutil.rmtree(path, ignore_errors=True)


def check_output_folder(
    output_dir: str, overwrite: bool, may_replace: Callable[[str], bool]
) -> None:
    """Refuse a folder that must not be written to; see `write_folder`."""
    if tf.io.gfile.exists(output_dir) and not tf.io.gfile.isdir(output_dir):
        raise ValueError(
            f"--output_dir {output_dir!r} is a file: name a new folder instead."
        )
    names = list_folder(output_dir)
    if names and not overwrite:
        raise ValueError(
            f"--output_dir {output_dir!r} is not empty ({names[0]} is in it): name "
            "another folder, or pass --overwrite to replace it."
        )
    foreign = [name for name in names if not may_replace(join(output_dir, name))]
    if foreign:
        raise ValueError(
            f"--output_dir {output_dir!r} holds {foreign[0]}, which no conversion "
            "writes and --overwrite would delete: move it away or name another folder."
        )


def make_readable(path: str) -> None:
    """Give a local file or folder the rights that a new one of the user has."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(path, (0o777 if os.path.isdir(path) else 0o666) & ~umask)


def _upload(local: str, output_dir: str) -> None:
    """Copy a local folder; the files that make it recognisable go last."""
    if tf.io.gfile.exists(output_dir):
        tf.io.gfile.rmtree(output_dir)
    relative = [
        os.path.relpath(os.path.join(folder, name), local)
        for folder, _, names in os.walk(local)
        for name in names
    ]
    last = [name for name in _LAST_WRITTEN if name in relative]
    for name in [*sorted(set(relative) - set(last)), *last]:
        target = join(output_dir, name)
        tf.io.gfile.makedirs(os.path.dirname(target))
        tf.io.gfile.copy(os.path.join(local, name), target, overwrite=True)
