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
from data_prep import command_line

# Errors that may pass: a lost connection, a TPU that is preempted or repaired. They say
# nothing about paths or rights.
TRANSIENT_ERRORS = (
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
        ValueError: `tpu` is given but cannot be reached. (The run never falls back to
            the CPU silently.)
        tf.errors.UnavailableError: `tpu` cannot be reached now, but may be soon.
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
    """Return the number of this host: 0 for the chief, others from 1.

    Every host runs the same command, but only the chief writes to the output folder.
    The chief is the task of the job `chief` if TF_CONFIG has one, as Kubeflow's has;
    else it is worker 0.
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
    """Yield the folder that this host writes to, and silence all hosts but the chief.

    Every host must compute and take part in saving, but only the chief's files and
    output are kept.

    Args:
        strategy: the run's.
        folder: the chief gets this folder, the others a temporary one.
    """
    if worker_index(strategy) == 0:
        yield folder
        return
    with (
        tempfile.TemporaryDirectory() as temporary,
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        yield temporary


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


def count_hosts(strategy: tf.distribute.Strategy) -> int:
    """Return how many hosts read input, each its own share."""
    resolver = strategy.cluster_resolver
    if resolver is None or not os.environ.get("TF_CONFIG"):
        return len(list_hosts(strategy))
    jobs = resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, ())) for job in ("chief", "worker"))


def describe(strategy: tf.distribute.Strategy) -> str:
    """Return a line for the top of a log: devices and versions."""
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
        if tpu != environment.LOCAL:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # The resolver, googleapiclient and the runtime raise errors of many classes, from
    # ImportError to HttpError; each of them means that there is no TPU to train on.
    except Exception as error:
        reason = f"{type(error).__name__}: {command_line.first_line(error)}"
        if _is_transient(tpu, error):
            raise tf.errors.UnavailableError(
                None,
                None,
                f"--tpu={tpu}: the TPU is not available now ({reason}). Run the same "
                "command again; if this repeats, end other programs on the TPU, or "
                "delete the TPU and create it again.",
            ) from error
        raise ValueError(
            f"--tpu={tpu}: no TPU could be reached ({reason}). Check the name, "
            "that it is READY, and that this is a TPU VM with tensorflow-tpu; leave "
            "--tpu out to train on GPUs or a CPU."
        ) from error


def _is_transient(tpu: str, error: Exception) -> bool:
    """Return whether a TPU that could not be reached may be reached soon."""
    if isinstance(error, TRANSIENT_ERRORS):
        return True
    # If the machine has chips, another process holds them, such as an earlier trainer
    # whose connection was lost and which is still saving. The second process then gets
    # "in use", or NotFoundError.
    is_held = isinstance(error, tf.errors.NotFoundError) or "in use" in str(error)
    return tpu == environment.LOCAL and environment.has_chips() and is_held


def _check_variables(tpu: str) -> None:
    """Raise ValueError if a variable that TensorFlow needs for the chips is missing.

    TensorFlow reads them when it is imported. Without them it would ask the metadata
    server for minutes and find no chip.
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

    TensorFlow itself would try such an address forever.
    """
    if tpu.startswith("grpc://"):
        address = urllib.parse.urlsplit(tpu)
        socket.create_connection((address.hostname, address.port), timeout=20).close()
