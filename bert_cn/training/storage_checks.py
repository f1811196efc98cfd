"""Checks of paths and rights before training starts, on each host of a TPU."""

import uuid
from collections.abc import Mapping

import tensorflow as tf

from bert_cn.training import environment
from bert_cn.training import strategy as strategy_lib
from data_prep import command_line


def check_paths(tpu: str, paths: Mapping[str, str]) -> None:
    """Refuse local paths for a TPU whose hosts are reached over the network.

    Such hosts open files themselves and cannot see this machine's disk.

    Args:
        tpu: value of --tpu.
        paths: name of each flag -> its value, a path or a comma-separated list.

    Raises:
        ValueError: a path is on this machine's disk; names it and the flag.
    """
    if not environment.is_cluster(tpu):
        return
    for flag, value in paths.items():
        for path in filter(None, (part.strip() for part in value.split(","))):
            if "://" not in path:
                raise ValueError(
                    f"--{flag}={path} is a path on this machine, but the hosts of "
                    f"--tpu={tpu} open files themselves: copy it into a bucket "
                    f"(gcloud storage cp -r) and pass gs://BUCKET/..."
                )


def warn_of_few_files(hosts: int, paths: tuple[str, ...]) -> None:
    """Print a warning if hosts must share files; it costs speed, not correctness.

    Args:
        hosts: number of hosts that read.
        paths: the input files, or those of one weighted glob.
    """
    if len(paths) >= hosts:
        return
    print(
        f"Warning: {len(paths)} input file(s) for {hosts} hosts: each host reads every "
        f"record and keeps one in {hosts}, so that all of them together read {hosts} "
        f"times the data; write at least {hosts} files (--num_shards={hosts}).",
        flush=True,
    )


def probe_folder(strategy: tf.distribute.Strategy, flag: str, folder: str) -> None:
    """Write, read and delete a file in a folder, from every host.

    The hosts that hold the variables write the checkpoints, and their account may have
    other rights than this process. A missing right shows here before the first step,
    instead of at the first checkpoint.

    Args:
        strategy: its hosts are tried.
        flag: the folder's flag, for the message.
        folder: the folder; made if it does not exist.

    Raises:
        ValueError: a host cannot do something; names it and the right that is missing.
        tf.errors.OpError: storage or a host did not answer; another try may help.
    """
    doing, place = "make the folder", "this process"
    # Each run and host has its own name: a bucket allows one write per second to an
    # object.
    name = f".probe-{uuid.uuid4().hex}-"
    try:
        tf.io.gfile.makedirs(folder)
        for index, place in enumerate(strategy_lib.list_hosts(strategy)):
            path = tf.io.gfile.join(folder, f"{name}{index}")
            with tf.device(place):
                doing = "write"
                tf.io.write_file(path, place)
                doing = "read back what it wrote"
                found = tf.io.read_file(path).numpy().decode()
            if found != place:
                raise OSError(f"found {found!r} instead of {place!r}")
            doing = "delete what was written"
            tf.io.gfile.remove(path)
    except strategy_lib.TRANSIENT_ERRORS:
        raise
    except (tf.errors.OpError, OSError) as error:
        reason = f"{type(error).__name__}: {command_line.first_line(error)}"
        raise ValueError(
            f"--{flag}={folder}: {place} cannot {doing} ({reason}). {_advice(folder)}"
        ) from error


def _advice(folder: str) -> str:
    if not folder.startswith("gs://"):
        return "Check the path, its rights and free space."
    bucket = folder.removeprefix("gs://").partition("/")[0]
    return (
        "Check that the bucket exists and is spelled right, and give the TPU's service "
        "account and yours the right to use it: gcloud storage buckets "
        f"add-iam-policy-binding gs://{bucket} --member=serviceAccount:ACCOUNT "
        "--role=roles/storage.admin"
    )
