"""A conversion that is killed leaves no folder that looks finished."""

import os
import random
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import folders, formats

# Writes and replaces conversions until it is killed.
_WRITER = """
import itertools, sys
from bert_cn.conversion import formats
source, parent = sys.argv[1:]
bert = formats.read_checkpoint(source)
print("ready", flush=True)
for number in itertools.count():
    for name in ("tf1", "tf2", "keras"):
        formats.write_checkpoint(bert, name, f"{parent}/out", overwrite=True)
        formats.write_checkpoint(bert, name, f"{parent}/{name}-{number}")
"""


@pytest.mark.slow
def test_kill_at_random_moments_leaves_whole_folders_only(warm, build_bert, tmp_path):
    generator = random.Random(7)
    bert = build_bert(hidden_size=192, intermediate_size=768)
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "source"))
    checked = unfinished = 0
    for number in range(4):
        parent = tmp_path / str(number)
        parent.mkdir()
        process = warm.start("writer", [tmp_path / "source", parent], program=_WRITER)
        assert next(process.follow_stdout()) == "ready\n"
        time.sleep(generator.uniform(0.05, 2))
        process.send_signal(signal.SIGKILL)
        process.wait()

        for path in parent.iterdir():
            if path.name.startswith("."):
                unfinished += 1
                continue
            back = formats.read_checkpoint(str(path))
            assert len(back.weights) == len(bert.weights), path
            for name, array in back.weights.items():
                assert np.array_equal(array, bert.weights[name]), (path, name)
            checked += 1
    print(f"{checked} whole folders, {unfinished} hidden ones left by 4 kills")
    assert checked


@pytest.mark.parametrize("output_format", ["tf1", "tf2", "keras"])
def test_cut_off_upload_is_not_taken_for_a_checkpoint(
    output_format, build_bert, monkeypatch
):
    bert, copy, number = build_bert(), tf.io.gfile.copy, 0
    while True:
        left = number

        def copy_some(*arguments, **settings):
            nonlocal left
            if left == 0:
                raise OSError("connection lost")
            left -= 1
            copy(*arguments, **settings)

        folder = f"ram://cut_off/{output_format}-{number}"
        monkeypatch.setattr(tf.io.gfile, "copy", copy_some)
        try:
            formats.write_checkpoint(bert, output_format, folder)
            break
        except OSError:
            monkeypatch.setattr(tf.io.gfile, "copy", copy)
            with pytest.raises(
                ValueError, match=r"recognised|not there|cannot be read"
            ):
                formats.read_checkpoint(folder)
        number += 1
    assert number >= 5


def test_what_a_killed_run_left_is_removed(build_bert, tmp_path):
    for name in (".out.unfinished-abc", ".out.unfinished-held", ".other.unfinished-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bert_model.ckpt.index").write_text("half")

    with folders._locked(str(tmp_path / ".out.unfinished-held")) as held:
        assert held
        formats.write_checkpoint(build_bert(), "tf1", str(tmp_path / "out"))

    assert sorted(os.listdir(tmp_path)) == [
        ".other.unfinished-x",
        ".out.unfinished-held",
        "out",
    ]


def test_older_conversion_that_a_killed_run_had_put_aside_comes_back(
    build_bert, tmp_path
):
    bert = build_bert()
    formats.write_checkpoint(bert, "tf2", str(tmp_path / "out"))
    (tmp_path / ".out.old-abc").mkdir()
    (tmp_path / "out").rename(tmp_path / ".out.old-abc" / "out")

    with pytest.raises(ValueError, match="is not empty"):
        formats.write_checkpoint(bert, "tf1", str(tmp_path / "out"))

    assert os.listdir(tmp_path) == ["out"]
    assert formats.find_format(str(tmp_path / "out")) == "tf2"
