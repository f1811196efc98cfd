"""TensorBoard shows the curves of a run, started as `make demo` says."""

import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import tensorflow as tf

from bert_cn.training import reporting
from tests.conftest import REPOSITORY

SECONDS = 120.0
SCALARS = "data/plugin/scalars"


def build_command(logdir: pathlib.Path) -> list[str]:
    """Return the Makefile's command with another folder and a free port."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "$(VENV)/bin/tensorboard --logdir=$(DEMO)/model/tensorboard" in makefile
    program = pathlib.Path(sys.executable).with_name("tensorboard")
    return [str(program), f"--logdir={logdir}", "--host=127.0.0.1", "--port=0"]


def wait_for(look, process: subprocess.Popen, log: pathlib.Path):
    """Call `look` until it returns something, while TensorBoard runs."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_tensorboard_serves_the_scalars_of_a_run(tmp_path):
    folder = reporting.log_dir(str(tmp_path), "train")
    writer = tf.summary.create_file_writer(folder)
    reporting.write_scalars(writer, {"loss": 2.5}, 7)
    writer.close()
    log = tmp_path / "log"

    def find_address():
        return re.search(r"http://127\.0\.0\.1:\d+/", log.read_text())

    def read_loss():
        query = urllib.parse.urlencode({"run": "train", "tag": "loss"})
        try:
            with urllib.request.urlopen(f"{address}{SCALARS}/scalars?{query}") as page:
                return json.load(page)
        except urllib.error.HTTPError:
            return None  # It has not read the file yet.

    with open(log, "w") as file:
        process = subprocess.Popen(
            build_command(pathlib.Path(folder).parent),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        address = wait_for(find_address, process, log)[0]
        points = wait_for(read_loss, process, log)
    finally:
        process.kill()
        process.wait(SECONDS)
    assert [(step, value) for _, step, value in points] == [(7, 2.5)]
