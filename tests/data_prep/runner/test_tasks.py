import dataclasses
import hashlib
import os
import pathlib

import pytest

from data_prep.runner import buckets as buckets_lib
from data_prep.runner import local, tasks
from data_prep.runner import workers as workers_lib
from tests.data_prep.runner.conftest import SETTINGS

COMMAND = "data_prep.create_pretraining_data"


def hashes(job) -> dict[str, str]:
    folder = pathlib.Path(job.outputs.manifest).parent
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@pytest.fixture
def jobs(make_job, monkeypatch):
    """A job that was run without tasks, and one to be run by tasks."""
    monkeypatch.setattr(buckets_lib, "BUCKET_BYTES", 20_000)
    whole = make_job(num_shards=5, out="whole")
    local.run(whole, 1, False)
    return whole, make_job(num_shards=5, out="shared")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_tasks_make_the_bytes_of_a_run_without_them(jobs, order):
    whole, job = jobs
    *others, last = (tasks.run(job, index, 3, 1) for index in order)
    assert others == [None, None]
    assert last.counts["sequences"] > 0
    assert hashes(job) == hashes(whole)
    left = {path.name for path in pathlib.Path(job.outputs.manifest).parent.iterdir()}
    assert not any("task" in name or "work" in name for name in left)
    # Run again, a task finds nothing to do.
    assert tasks.run(job, 1, 3, 1) == last


def test_task_reads_all_and_keeps_its_own(jobs, monkeypatch):
    whole, job = jobs
    made = []
    make_part = workers_lib.make_part
    monkeypatch.setattr(
        workers_lib, "make_part", lambda *args: made.append(args[2]) or make_part(*args)
    )
    tasks.run(job, 1, 2, 1)
    per_shard = whole.buckets_per_shard
    assert {bucket // per_shard for bucket in made} == {1, 3}


def test_killed_task_is_repeated_alone(jobs, monkeypatch):
    whole, job = jobs
    assert tasks.run(job, 0, 2, 1) is None
    first = os.stat(job.outputs.shards[0]).st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(workers_lib, "make_part", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tasks.run(job, 1, 2, 1)
    assert not os.path.exists(job.outputs.manifest)
    assert tasks.run(job, 1, 2, 1) is not None
    assert hashes(job) == hashes(whole)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns == first


def test_lost_shard_is_made_again_by_its_task(jobs):
    whole, job = jobs
    tasks.run(job, 0, 2, 1)
    os.remove(job.outputs.shards[2])
    assert tasks.run(job, 1, 2, 1) is None
    assert tasks.run(job, 0, 2, 1) is not None
    assert hashes(job) == hashes(whole)


def test_tasks_of_other_settings_are_refused(jobs):
    _, job = jobs
    tasks.run(job, 0, 2, 1)
    other = dataclasses.replace(
        job, settings=dataclasses.replace(SETTINGS, random_seed=9)
    )
    with pytest.raises(ValueError, match="begun with random_seed=12345, now it is 9"):
        tasks.run(other, 1, 2, 1)


def test_what_compares_all_documents_and_too_many_tasks_are_refused(make_job):
    near = make_job(dataclasses.replace(SETTINGS, deduplicate="near"))
    with pytest.raises(ValueError, match="compare all documents, of which a task"):
        tasks.run(near, 0, 2, 1)
    with pytest.raises(ValueError, match="--num_tasks=4 is more than the 3 shards"):
        tasks.run(make_job(), 0, 4, 1)


def test_command_of_each_task(run_command, vocab_file, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"第{n}篇。\n内容很多。" for n in range(200)))

    def run(*more):
        return run_command(
            COMMAND,
            f"--input_file={text}",
            f"--output_file={tmp_path}/out/train.tfrecord",
            f"--vocab_file={vocab_file}",
            "--num_shards=2",
            "--eval_fraction=0.2",
            *more,
        )

    first = run("--num_tasks=2", "--task_index=0")
    assert first.returncode == 0, first.stderr
    assert "Task 0 of 2 is done; the last one writes" in first.stdout
    assert (tmp_path / "out" / "eval-train.tfrecord").exists()
    second = run("--num_tasks=2", "--task_index=1")
    assert second.returncode == 0, second.stderr
    assert f"Manifest: {tmp_path}/out/train.manifest.json" in second.stdout
    wrong = run("--num_tasks=2", "--task_index=2")
    assert wrong.returncode == 1
    assert "--task_index=2 cannot work with --num_tasks=2" in wrong.stderr
