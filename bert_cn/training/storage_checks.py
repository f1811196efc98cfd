"""What must be true of files before a TPU's hosts may work on them."""

import uuid
from collections.abc import Mapping

import tensorflow as tf

from bert_cn.training import environment
from bert_cn.training import strategy as strategy_lib

# Says nothing of a folder or of rights.
_NO_ANSWER = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
)


def check_paths(tpu: str, paths: Mapping[str, str]) -> None:
    """Refuse paths that the hosts of a TPU cannot see.

    Args:
        tpu: value of --tpu. Anything goes unless it names hosts on the network, for
            these open their files themselves.
        paths: value of each flag, by the flag's name; comma lists are taken apart.

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
    """Print a warning where hosts must share files; it costs speed, not correctness.

    Args:
        hosts: that read.
        paths: the files of one glob with a weight, or all of them.
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

    Checkpoints are written by the hosts that hold the variables, and their account may
    have other rights than this process: that comes out before the first step, not at
    the first checkpoint.

    Args:
        strategy: whose hosts are tried.
        flag: the folder's flag, for the message.
        folder: made if it is not there.

    Raises:
        ValueError: what a host could not do, and which right is wanted.
        tf.errors.OpError: storage or a host did not answer; another try may help.
    """
    doing, place = "make the folder", "this process"
    # A name for each run and host: a bucket takes one write a second of one object.
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
    except _NO_ANSWER:
        raise
    except (tf.errors.OpError, OSError) as error:
        message = getattr(error, "message", None) or str(error)
        first_line = (message.splitlines() or ["no message"])[0]
        raise ValueError(
            f"--{flag}={folder}: {place} cannot {doing} ({type(error).__name__}: "
            f"{first_line}). {_advice(folder)}"
        ) from error


def _advice(folder: str) -> str:
    if not folder.startswith("gs://"):
        return "Check the path, its rights and free space."
    bucket = folder.removeprefix("gs://").partition("/")[0]
    return (
        "Check that the bucket is there and spelled right, and give the TPU's service "
        "account and yours the right to it: gcloud storage buckets "
        f"add-iam-policy-binding gs://{bucket} --member=serviceAccount:ACCOUNT "
        "--role=roles/storage.admin"
    )
