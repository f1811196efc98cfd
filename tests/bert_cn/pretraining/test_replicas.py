"""The same update on one device and on two, whole and in micro-batches."""

import json

import numpy as np
import pytest

from tests.bert_cn import hosts

MODULE = "tests.bert_cn.replica_run"


def run_replicas(warm, folder, record_files, *arguments: str) -> dict[str, np.ndarray]:
    """Train in a process of its own, since devices are fixed at TensorFlow's start."""
    output = folder / ("-".join(arguments).replace("=", "_") + ".npz")
    done = warm.run(MODULE, [*arguments, output, *record_files])
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))


@pytest.fixture(scope="module")
def one_device(warm, tmp_path_factory, record_files):
    folder = tmp_path_factory.mktemp("one")
    return run_replicas(warm, folder, record_files, "--devices=1")


def assert_same_training(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_replicas_train_as_one(warm, tmp_path, record_files, one_device):
    found = run_replicas(warm, tmp_path, record_files, "--devices=2")
    assert_same_training(found, one_device)


@pytest.mark.slow
def test_two_hosts_train_as_one(warm, tmp_path, record_files, one_device):
    outputs = [str(tmp_path / f"worker-{index}.npz") for index in range(2)]
    processes = hosts.start_hosts(
        warm, MODULE, [["--devices=1", output, *record_files] for output in outputs]
    )
    for output, process in zip(outputs, processes, strict=True):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert_same_training(dict(np.load(output)), one_device)


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["1", "2"])
def test_micro_batches_train_as_the_whole_batch(
    warm, tmp_path, record_files, one_device, devices
):
    found = run_replicas(
        warm, tmp_path, record_files, f"--devices={devices}", "--accumulation_steps=2"
    )
    assert_same_training(found, one_device)


@pytest.mark.slow
def test_replicas_sum_before_clipping_drop_different_units_and_show_all_samples(
    warm, tmp_path
):
    output = tmp_path / "facts.json"
    done = warm.run(MODULE, ["--devices=2", "--facts", output])
    assert done.returncode == 0, done.stderr
    facts = json.loads(output.read_text())
    # [3, 0] on one replica and [0, 3] on the other: their sum has norm 4.24.
    np.testing.assert_allclose(facts["clipped"], [[0.7071, 0.7071]] * 2, atol=1e-4)
    assert facts["sequence_outputs_equal"] == [False, True]
    assert facts["predicted_numbers"] == list(range(12))
