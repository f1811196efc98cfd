"""The same update on one device and on two, whole and in parts."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.bert_cn import hosts
from tests.conftest import REPOSITORY

COMMAND = (sys.executable, "-m", "tests.bert_cn.replica_run")


def run_replicas(folder, record_files, *arguments: str) -> dict[str, np.ndarray]:
    """Train in a process of its own, since devices are fixed at TensorFlow's start."""
    output = folder / ("-".join(arguments).replace("=", "_") + ".npz")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.bert_cn.replica_run",
            *arguments,
            str(output),
            *record_files,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, record_files):
    folder = tmp_path_factory.mktemp("one")
    return run_replicas(folder, record_files, "--devices=1")


def assert_same_training(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_replicas_train_as_one(tmp_path, record_files, one_device):
    found = run_replicas(tmp_path, record_files, "--devices=2")
    assert_same_training(found, one_device)


@pytest.mark.slow
def test_two_hosts_train_as_one(tmp_path, record_files, one_device):
    outputs = [str(tmp_path / f"worker-{index}.npz") for index in range(2)]
    processes = hosts.start_hosts(
        [[*COMMAND, "--devices=1", output, *record_files] for output in outputs]
    )
    for output, process in zip(outputs, processes, strict=True):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert_same_training(dict(np.load(output)), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["1", "2"])
def test_accumulated_parts_train_as_the_whole_batch(
    tmp_path, record_files, one_device, devices
):
    found = run_replicas(
        tmp_path, record_files, f"--devices={devices}", "--accumulation_steps=2"
    )
    assert_same_training(found, one_device)


@pytest.mark.slow
def test_replicas_sum_before_clipping_drop_other_units_and_show_all_samples(tmp_path):
    output = tmp_path / "facts.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.bert_cn.replica_run",
            "--devices=2",
            "--facts",
            str(output),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(output.read_text())
    # [3, 0] on one replica and [0, 3] on the other: their sum has norm 4.24.
    np.testing.assert_allclose(facts["clipped"], [[0.7071, 0.7071]] * 2, atol=1e-4)
    assert facts["sequence_outputs_equal"] == [False, True]
    assert facts["predicted_numbers"] == list(range(12))
