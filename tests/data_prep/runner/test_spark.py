"""The data stage on a real standalone cluster: `make test-spark`."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from data_prep.runner import local as local_lib
from tests.conftest import REPOSITORY
from tests.data_prep.runner import spark_cluster
from tests.data_prep.runner.conftest import SETTINGS

pytest.importorskip("pyspark", reason="needs the extra spark: run make test-spark")

from data_prep.runner import spark as spark_lib

pytestmark = pytest.mark.spark
if shutil.which("java") is None:
    pytest.skip("needs Java 17: see Spark in docs", allow_module_level=True)

COMMAND = "data_prep.create_pretraining_data"
NUM_SHARDS = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with spark_cluster.start(tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    """A file of some MB: the sample corpus, each time with another number."""
    paths = sorted((REPOSITORY / "data_prep" / "sample_corpus").glob("*.txt"))
    whole = "\n\n".join(path.read_text(encoding="utf-8").strip() for path in paths)
    documents = [text for text in whole.split("\n\n") if text.strip()]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(
        "\n\n".join(
            f"第{n}次。\n{text}\n版权所有" for n in range(20) for text in documents
        ),
        encoding="utf-8",
    )
    return str(path)


def read_folder(job) -> dict[str, bytes]:
    folder = pathlib.Path(job.outputs.manifest).parent
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_on_cluster(cluster, job, vocab_file, *flags, while_running=lambda: None):
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", COMMAND),
            f"--input_file={job.files[0].path}",
            f"--output_file={job.outputs.stem}.tfrecord",
            f"--num_shards={len(job.outputs.shards)}",
            f"--vocab_file={vocab_file}",
            *("--masking=wwm", "--dupe_factor=2", "--runner=spark"),
            f"--spark_master={cluster.master}",
            *flags,
        ],
        cwd=REPOSITORY,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while_running()
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def test_cluster_writes_what_the_local_run_writes(cluster, make_job, text, vocab_file):
    local = make_job(inputs=text, out="local", num_shards=NUM_SHARDS)
    spark = make_job(inputs=text, out="spark", num_shards=NUM_SHARDS)
    local_lib.run(local, 1, False)
    code, output = run_on_cluster(cluster, spark, vocab_file)
    assert code == 0, output[-3000:]
    assert read_folder(spark) == read_folder(local)


def test_documents_are_compared_as_locally(cluster, make_job, text, vocab_file):
    settings = dataclasses.replace(
        SETTINGS, deduplicate="near", drop_repeated_lines=25, random_seed=3
    )
    local = make_job(settings, inputs=text, out="local", num_shards=NUM_SHARDS)
    spark = make_job(settings, inputs=text, out="spark", num_shards=NUM_SHARDS)
    counts = local_lib.run(local, 1, False).counts
    assert counts["near_duplicates_dropped"] > 1000
    assert counts["repeated_lines_dropped"] > 1000
    flags = ("--deduplicate=near", "--drop_repeated_lines=25", "--random_seed=3")
    code, output = run_on_cluster(cluster, spark, vocab_file, *flags)
    assert code == 0, output[-3000:]
    assert read_folder(spark) == read_folder(local)


@pytest.mark.slow
def test_killed_executor_changes_nothing(cluster, make_job, text, vocab_file):
    local = make_job(inputs=text, out="local", num_shards=NUM_SHARDS)
    spark = make_job(inputs=text, out="spark", num_shards=NUM_SHARDS)
    local_lib.run(local, 1, False)
    killed = []

    def kill_one():
        # In the middle: some buckets are made, others are not.
        folder = pathlib.Path(f"{spark.outputs.stem}.spark")
        end = time.monotonic() + 300
        while time.monotonic() < end:
            made = list(folder.glob("bucket-*")) if folder.exists() else []
            executors = cluster.list_executors()
            if made and executors:
                os.kill(executors[0], signal.SIGKILL)
                killed.append(executors[0])
                return
            time.sleep(0.05)

    code, output = run_on_cluster(cluster, spark, vocab_file, while_running=kill_one)
    assert killed
    assert code == 0, output[-3000:]
    assert "Lost executor" in output or "lost" in output.lower()
    assert read_folder(spark) == read_folder(local)


def test_bad_text_is_one_sentence(cluster, make_job, tmp_path, vocab_file):
    path = tmp_path / "gbk.txt"
    path.write_bytes(b"abc\n" + "天气".encode("gbk"))
    job = make_job(inputs=str(path))
    code, output = run_on_cluster(cluster, job, vocab_file)
    assert code == 1
    assert "gbk.txt' is not UTF-8 at byte 4" in output.splitlines()[-1]
    assert "Traceback" not in output


def test_master_that_does_not_exist_is_named(make_job):
    with pytest.raises(ValueError, match="Spark does not start with --spark_master=no"):
        spark_lib.run(make_job(), "nonsense://host", False)
