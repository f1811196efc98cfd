"""Fixtures that several test folders use."""

import os
import pathlib
import signal
import subprocess
import sys

# A shell starts what it puts into the background deaf to Ctrl-C, and that is inherited:
# the commands under test would not hear the one that a test sends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Quiet TensorFlow before any test imports it; errors still show.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from tests import warm_python

# Commands that import TensorFlow.
WARM = ("bert_cn.", "tpu.preflight", "data_prep.inspect_records")
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(scope="session")
def shared_folder() -> pathlib.Path:
    """The folder with real corpora and weights beside the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            "needs the corpora and weights in ../shared beside the repository; put "
            "them there and run pytest -m shared_data"
        )
    return SHARED


@pytest.fixture(scope="session")
def warm():
    """Runs modules and programs in forks of a Python that has imported TensorFlow."""
    python = warm_python.WarmPython(REPOSITORY)
    yield python
    python.close()


@pytest.fixture(scope="session")
def run_command(warm):
    """Run `python -m module arguments...` as a user would; returns CompletedProcess.

    Commands that need TensorFlow run in forks of a process that has imported it (see
    `tests.warm_python`), the others, and all with `cold`, in a Python of their own.
    """

    def run(module: str, *arguments: str, timeout: float = 600, cold: bool = False):
        arguments = list(map(str, arguments))
        if module.startswith(WARM) and not cold:
            return warm.run(module, arguments, timeout=timeout)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def assert_refused(run_command):
    """Check that a command ends with one sentence, no traceback, exit code not 0.

    Returns the standard error for further checks.
    """

    def check(module: str, *arguments: str, saying: tuple[str, ...]) -> str:
        done = run_command(module, *arguments)
        assert done.returncode not in (0, None), done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        for part in saying:
            assert part in done.stderr, done.stderr
        return done.stderr

    return check


@pytest.fixture(scope="session")
def xla_for_cpus():
    """Skip where TensorFlow is a TPU VM's, whose XLA compiles for TPUs alone."""
    import tensorflow as tf

    try:
        tf.function(lambda x: x + 1, jit_compile=True)(1)
    except tf.errors.NotFoundError:
        pytest.skip("needs an XLA that compiles for CPUs, as in the package tensorflow")


@pytest.fixture(scope="session")
def small_config():
    """The smallest model that reads the records of `tests/bert_cn/records.py`."""
    from bert_cn.model import config as config_lib
    from tests.bert_cn import records

    return config_lib.BertConfig(
        vocab_size=records.VOCAB_SIZE,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=records.LENGTH,
    )


@pytest.fixture(scope="session")
def record_files(tmp_path_factory) -> list[str]:
    """Two files of 20 records each, numbered 0 to 39."""
    from tests.bert_cn import records

    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    paths = []
    for part in range(2):
        paths.append(str(folder / f"part-{part}.tfrecord"))
        numbers = range(20 * part, 20 * part + 20)
        records.write_records(
            paths[-1], [records.make_record(rng, number) for number in numbers]
        )
    return paths


@pytest.fixture
def small_batch():
    """Four records as the int32 and float32 tensors that a step takes."""
    import tensorflow as tf

    from data_prep.records import schema
    from tests.bert_cn import records

    rng = np.random.default_rng(1)
    rows = [records.make_record(rng, number) for number in range(4)]
    return {
        name: tf.constant(
            np.stack([row[name] for row in rows]),
            tf.float32 if name in schema.FLOAT_FEATURES else tf.int32,
        )
        for name in schema.FEATURES
    }
