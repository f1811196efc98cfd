import os
import subprocess
import sys

import pytest

from bert_cn.training import folder_lock
from tests.conftest import REPOSITORY

HOLD = """
import sys, time
from bert_cn.training import folder_lock
with folder_lock.hold_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds `tmp_path / "run"`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_second_run_is_refused_with_the_first_ones_process(holder, tmp_path):
    folder = str(tmp_path / "run")
    with (
        pytest.raises(ValueError, match=rf"writing into .* \(process {holder.pid} on "),
        folder_lock.hold_folder(folder),
    ):
        pass
    # A killed process holds nothing.
    holder.kill()
    holder.wait()
    with folder_lock.hold_folder(folder):
        assert os.listdir(folder)


def test_nothing_is_left_in_a_folder_that_is_let_go(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new" / "run"
    old.mkdir()
    for folder in (old, new):
        with folder_lock.hold_folder(str(folder)):
            pass
    assert os.listdir(old) == []
    assert not new.exists()


def test_folder_that_cannot_be_made_is_left_to_others(tmp_path):
    (tmp_path / "file").write_text("")
    with folder_lock.hold_folder(str(tmp_path / "file" / "run")):
        assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == ""
