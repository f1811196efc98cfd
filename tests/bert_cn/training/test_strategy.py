import json
import pathlib
import platform
import types

import keras
import pytest
import tensorflow as tf

from bert_cn.training import environment, strategy


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert strategy.build_strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize("tpu", ["grpc://127.0.0.1:1", "local"])
def test_missing_tpu_is_an_error_not_a_cpu_run(tpu):
    with pytest.raises(ValueError, match=f"--tpu={tpu}: no TPU could be reached"):
        strategy.build_strategy(tpu)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ({"worker": 2}, {("worker", 0): 0, ("worker", 1): 1}),
        (
            {"chief": 1, "worker": 2},
            {("chief", 0): 0, ("worker", 0): 1, ("worker", 1): 2},
        ),
    ],
    ids=["workers", "chief"],
)
def test_one_host_alone_is_the_chief(monkeypatch, jobs, expected):
    cluster = {job: [f"{job}-{i}:1" for i in range(n)] for job, n in jobs.items()}
    found = {}
    for job, index in expected:
        task = {"type": job, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        host = types.SimpleNamespace(cluster_resolver=resolver)
        found[job, index] = strategy.worker_index(host)
    assert found == expected


@pytest.mark.parametrize("index", [0, 1])
def test_only_the_chiefs_files_and_output_are_kept(
    index, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(strategy, "worker_index", lambda hosts: index)
    with strategy.keep_chiefs_files(None, str(tmp_path)) as folder:
        print("a step line")
        pathlib.Path(folder, "file").touch()
    is_chief = index == 0
    assert (folder == str(tmp_path)) == is_chief
    assert (tmp_path / "file").exists() == pathlib.Path(folder).exists() == is_chief
    assert capsys.readouterr().out == "a step line\n" * is_chief


IN_USE = "The TPU is already in use by process with pid 7"


@pytest.mark.parametrize(
    ("tpu", "error", "expected"),
    [
        (
            "pod",
            tf.errors.UnavailableError(None, None, "no route"),
            "not available now",
        ),
        ("pod", tf.errors.AbortedError(None, None, "preempted"), "not available now"),
        ("pod", tf.errors.DeadlineExceededError(None, None, ""), "not available now"),
        ("pod", tf.errors.NotFoundError(None, None, "no TPUs"), None),
        ("pod", RuntimeError("404"), None),
        ("local", tf.errors.NotFoundError(None, None, "no TPUs"), "not available now"),
        ("local", tf.errors.InternalError(None, None, IN_USE), "not available now"),
        ("local", tf.errors.InternalError(None, None, "a bug"), None),
    ],
)
def test_errors_of_a_tpu_that_may_come_back_are_transient(
    monkeypatch, tpu, error, expected
):
    def refuse(resolver):
        raise error

    monkeypatch.setattr(environment, "build_variables", lambda tpu: {})
    monkeypatch.setattr(environment, "has_chips", lambda: True)
    monkeypatch.setattr(
        tf.distribute.cluster_resolver, "TPUClusterResolver", lambda tpu: None
    )
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda _: None)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", refuse)
    kind = tf.errors.UnavailableError if expected else ValueError
    message = expected or "no TPU could be reached"
    with pytest.raises(kind, match=f"--tpu={tpu}: .*{message}"):
        strategy.build_strategy(tpu)


def test_hosts_come_in_order_and_once():
    devices = [f"/job:worker/task:{host}/device:TPU:0" for host in (10, 2, 2, 0)]
    pod = types.SimpleNamespace(
        extended=types.SimpleNamespace(worker_devices=devices), num_replicas_in_sync=4
    )
    assert strategy.list_hosts(pod) == [
        f"/job:worker/task:{host}/device:CPU:0" for host in (0, 2, 10)
    ]
    line = strategy.describe(pod)
    assert line.startswith("TPU: 4 replica(s) on 0 core(s) of 3 host(s); ")
    assert f"TensorFlow {tf.__version__}, Keras {keras.__version__}, libtpu " in line
    assert line.endswith(f"Python {platform.python_version()}.")


def test_tensorflow_imported_too_early_for_a_tpu_vm_is_refused(monkeypatch):
    monkeypatch.setattr(
        environment, "build_variables", lambda tpu: {"PJRT_DEVICE": "TPU"}
    )
    monkeypatch.delenv("PJRT_DEVICE", raising=False)
    with pytest.raises(
        ValueError, match="imported without PJRT_DEVICE=TPU; start this"
    ):
        strategy.build_strategy("local")
