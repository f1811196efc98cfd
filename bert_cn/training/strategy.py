"""Choose a tf.distribute strategy: a TPU, several GPU hosts, GPUs, or one device."""

import contextlib
import os
import platform
import socket
import tempfile
import urllib.parse
from collections.abc import Iterator

import keras
import tensorflow as tf

from bert_cn.training import environment

# What may pass by itself: connections that fail, a TPU that is taken away or repaired.
_MAY_PASS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
)


def build_strategy(tpu: str = "") -> tf.distribute.Strategy:
    """Return the strategy under which the model is built and trained.

    Args:
        tpu: empty, or what `tf.distribute.cluster_resolver.TPUClusterResolver` takes:
            a TPU's name, "local" on a TPU VM, or grpc://address:port.

    Returns:
        TPUStrategy if `tpu` is given (a line says what was found); else
        MultiWorkerMirroredStrategy if TF_CONFIG is set; else
        MirroredStrategy over two or more GPUs; else the default strategy.

    Raises:
        ValueError: `tpu` is given but cannot be reached; never a silent CPU run.
        tf.errors.UnavailableError: the like, but it may be reached in a moment.
    """
    if tpu:
        strategy = _connect_to_tpu(tpu)
        print(describe(strategy), flush=True)
        return strategy
    if os.environ.get("TF_CONFIG"):
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def worker_index(strategy: tf.distribute.Strategy) -> int:
    """Return which of several hosts this process is; 0 for the chief alone.

    Every host runs the same command, but only the chief writes to the output folder.
    The chief is the one task of the job `chief` where TF_CONFIG has one, as Kubeflow's
    has, and worker 0 where not.
    """
    resolver = strategy.cluster_resolver
    if resolver is None or not os.environ.get("TF_CONFIG"):
        return 0
    if resolver.task_type == "chief":
        return 0
    has_chief = "chief" in resolver.cluster_spec().jobs
    return int(resolver.task_id or 0) + has_chief


@contextlib.contextmanager
def keep_chiefs_files(strategy: tf.distribute.Strategy, folder: str) -> Iterator[str]:
    """Give the folder that this host writes to, and keep other hosts than one quiet.

    Every host must compute, and take part in saving, but only the chief's files and
    words are kept.

    Args:
        strategy: of the run.
        folder: what the chief is given; the others get one that is thrown away.
    """
    if worker_index(strategy) == 0:
        yield folder
        return
    with (
        tempfile.TemporaryDirectory() as thrown_away,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield thrown_away


def list_hosts(strategy: tf.distribute.Strategy) -> list[str]:
    """Return the name of each host's CPU, as `tf.device` takes it, in order."""
    try:
        names = strategy.extended.worker_devices
    except RuntimeError:  # The default strategy has none.
        return ["/device:CPU:0"]
    hosts = {}
    for name in names:
        device = tf.DeviceSpec.from_string(name)
        cpu = device.replace(device_type="CPU", device_index=0)
        hosts[device.job or "", device.task or 0] = cpu.to_string()
    return [hosts[key] for key in sorted(hosts)]


def describe(strategy: tf.distribute.Strategy) -> str:
    """Return a line on what a strategy runs on, for the head of a log."""
    hosts = len(list_hosts(strategy))
    replicas = strategy.num_replicas_in_sync
    cores = len(tf.config.list_logical_devices("TPU"))
    libtpu = environment.installed_version("libtpu") or "of the system"
    return (
        f"TPU: {replicas} replica(s) on {cores} core(s) of {hosts} host(s); "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, libtpu {libtpu}, "
        f"Python {platform.python_version()}."
    )


def _connect_to_tpu(tpu: str) -> tf.distribute.Strategy:
    if tpu == environment.LOCAL:
        _check_variables(tpu)
    try:
        _check_address(tpu)
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
        if tpu != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # The resolver, googleapiclient and the runtime each raise their own kinds, from
    # ImportError to HttpError; all of them mean that there is no TPU to train on.
    except Exception as error:
        first_line = (str(error).splitlines() or ["no message"])[0]
        reason = f"{type(error).__name__}: {first_line}"
        if _may_pass(tpu, error):
            raise tf.errors.UnavailableError(
                None,
                None,
                f"--tpu={tpu}: the TPU cannot be had now ({reason}). Run the same "
                "command again; if it says so again, end what else runs on the TPU, or "
                "make it anew.",
            ) from error
        raise ValueError(
            f"--tpu={tpu}: no TPU could be reached ({reason}). Check the name, "
            "that it is READY, and that this is a TPU VM with tensorflow-tpu; leave "
            "--tpu out to train on GPUs or a CPU."
        ) from error


def _may_pass(tpu: str, error: Exception) -> bool:
    """Say whether a TPU that could not be reached may be reached in a moment."""
    if isinstance(error, _MAY_PASS):
        return True
    # Chips that are there but cannot be had are held by another process, such as the
    # trainer before this one, whose connection was lost and which still saves. A second
    # process is told so, or that there is no TPU.
    is_held = isinstance(error, tf.errors.NotFoundError) or "in use" in str(error)
    return tpu == environment.LOCAL and environment.has_chips() and is_held


def _check_variables(tpu: str) -> None:
    """Raise ValueError if TensorFlow was imported before it could find the chips.

    It would ask the metadata server for minutes, and find none.
    """
    missing = [
        f"{name}={value}"
        for name, value in environment.build_variables(tpu).items()
        if not os.environ.get(name)
    ]
    if missing:
        raise ValueError(
            f"--tpu={tpu}: TensorFlow was imported without {' '.join(missing)}; start "
            "this as python -m bert_cn.COMMAND, which sets them, or set them yourself."
        )


def _check_address(tpu: str) -> None:
    """Raise OSError if nothing listens at a grpc:// address.

    TensorFlow itself would try such an address for ever.
    """
    if tpu.startswith("grpc://"):
        address = urllib.parse.urlsplit(tpu)
        socket.create_connection((address.hostname, address.port), timeout=20).close()
