import types

import pytest
import tensorflow as tf

from bert_cn.training import storage_checks

# Four devices on two hosts, as a strategy names them. The hosts are servers in this
# process, which a program can be connected to only before it has done anything else.
CLUSTER = """
import sys, types
import tensorflow as tf
from bert_cn.training import storage_checks

servers = [tf.distribute.Server.create_local_server() for _ in range(2)]
hosts = [server.target.removeprefix("grpc://") for server in servers]
tf.config.experimental_connect_to_cluster(tf.train.ClusterSpec({"worker": hosts}))
devices = [f"/job:worker/task:{host}/device:TPU:{core}" for core in (0, 1)
           for host in (1, 0)]
pod = types.SimpleNamespace(extended=types.SimpleNamespace(worker_devices=devices))
read_file = tf.io.read_file

def watch(path):
    content = read_file(path)
    print(content.device)
    return content

tf.io.read_file = watch
storage_checks.probe_folder(pod, "output_dir", sys.argv[1])
"""

PATHS = {
    "input_file": "gs://bucket/news*.tfrecord:2, data/wiki*.tfrecord:1",
    "output_dir": "gs://bucket/run",
    "init_checkpoint": "",
}


@pytest.mark.parametrize("tpu", ["pod", "grpc://10.0.0.2:8470"])
def test_local_path_is_refused_on_a_pod(tpu):
    with pytest.raises(
        ValueError, match=rf"--input_file=data/wiki.* --tpu={tpu} open .* pass gs://"
    ):
        storage_checks.check_paths(tpu, PATHS)
    with pytest.raises(ValueError, match="--output_dir=out/run is a path on this"):
        storage_checks.check_paths(tpu, {"output_dir": "out/run"})


def test_paths_that_the_hosts_can_see_are_accepted():
    storage_checks.check_paths("pod", {"input_file": "gs://b/a*:2,gs://b/c*:1"})
    storage_checks.check_paths("local", PATHS)
    storage_checks.check_paths("", PATHS)


def build_pod(num_hosts: int):
    """Two devices on each host, as a strategy lists them."""
    devices = [
        f"/job:worker/replica:0/task:{host}/device:TPU:{core}"
        for core in range(2)
        for host in range(num_hosts)
    ]
    return types.SimpleNamespace(extended=types.SimpleNamespace(worker_devices=devices))


def test_fewer_files_than_hosts_print_a_warning(capsys):
    storage_checks.warn_of_few_files(16, ("file",) * 16)
    storage_checks.warn_of_few_files(1, ("file",))
    assert capsys.readouterr().out == ""
    storage_checks.warn_of_few_files(16, ("file",) * 15)
    warning = capsys.readouterr().out
    assert warning.startswith("Warning: 15 input file(s) for 16 hosts: each host reads")
    assert "keeps one in 16" in warning
    assert "--num_shards=16" in warning


def test_folder_is_made_probed_and_left_empty(tmp_path):
    folder = tmp_path / "new" / "run"
    strategy = tf.distribute.get_strategy()
    storage_checks.probe_folder(strategy, "output_dir", str(folder))
    assert list(folder.iterdir()) == []


def test_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    folder = f"{tmp_path}/file/run"
    with pytest.raises(
        ValueError,
        match=rf"--output_dir={folder}: this process cannot make the folder \(.*"
        "Check the path, its rights and free space",
    ):
        storage_checks.probe_folder(tf.distribute.get_strategy(), "output_dir", folder)


@pytest.mark.parametrize(
    ("function", "doing"),
    [
        ("write_file", "write"),
        ("read_file", "read back what it wrote"),
        ("gfile.remove", "delete what was written"),
    ],
)
def test_missing_right_is_named_with_the_remedy(monkeypatch, function, doing):
    def refuse(*_):
        raise tf.errors.PermissionDeniedError(None, None, "403 Forbidden\nmore", 7)

    for name in ("write_file", "read_file"):
        monkeypatch.setattr(tf.io, name, lambda path, *_: tf.constant("/device:CPU:0"))
    for name in ("makedirs", "remove"):
        monkeypatch.setattr(tf.io.gfile, name, lambda path: None)
    *module, name = function.split(".")
    monkeypatch.setattr(getattr(tf.io, *module) if module else tf.io, name, refuse)
    with pytest.raises(ValueError, match=doing) as error:
        storage_checks.probe_folder(
            tf.distribute.get_strategy(), "output_dir", "gs://bucket/run"
        )
    message = str(error.value)
    assert message.startswith(
        f"--output_dir=gs://bucket/run: /device:CPU:0 cannot {doing} "
        "(PermissionDeniedError: 403 Forbidden)."
    )
    assert "add-iam-policy-binding gs://bucket --member" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "kind",
    [
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
    ],
)
def test_storage_that_does_not_answer_is_not_taken_for_a_missing_right(
    monkeypatch, tmp_path, kind
):
    def fail(*_):
        raise kind(None, None, "503")

    monkeypatch.setattr(tf.io, "write_file", fail)
    with pytest.raises(kind, match="^503$"):
        storage_checks.probe_folder(
            tf.distribute.get_strategy(), "output_dir", str(tmp_path)
        )


def test_every_host_of_a_cluster_is_tried(warm, tmp_path):
    done = warm.run("cluster", [tmp_path / "run"], program=CLUSTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "/job:worker/replica:0/task:0/device:CPU:0",
        "/job:worker/replica:0/task:1/device:CPU:0",
    ]
    assert list((tmp_path / "run").iterdir()) == []
