import dataclasses
import fcntl
import functools
import hashlib
import os
import pathlib
import random
import shutil

import pytest

from data_prep.records import manifest
from data_prep.records.settings import Settings
from data_prep.runner import buckets as buckets_lib
from data_prep.runner import local, run_lock
from data_prep.runner import workers as workers_lib
from data_prep.runner.job import Job
from data_prep.text import corpus, vocab
from tests.data_prep.runner.conftest import SAMPLE, SETTINGS

COMMAND = "data_prep.create_pretraining_data"

# Equal however a run comes to its end.
BESIDE_SHARDS = (
    "train.manifest.json",
    "train.report.json",
    "train.report.png",
    "train.report.html",
    "train.token_counts.npz",
)


def hashes(job_or_folder) -> dict[str, str]:
    folder = job_or_folder
    if isinstance(folder, Job):
        folder = pathlib.Path(folder.outputs.manifest).parent
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.tfrecord*"))
    }


def fail_at_bucket(job, monkeypatch, bucket, overwrite=False):
    """Run a job until a bucket, at which the disk is full."""
    make_part = workers_lib.make_part

    def fail(*args):
        if args[2] == bucket:
            raise OSError(28, "No space left on device")
        make_part(*args)

    with monkeypatch.context() as patch:
        patch.setattr(workers_lib, "make_part", fail)
        with pytest.raises(OSError, match="No space left"):
            local.run(job, 1, overwrite)


def test_manifest_describes_the_files(make_job):
    job = make_job()
    written = local.run(job, 1, False)
    found = manifest.find_manifest(job.outputs.shards[1])
    assert found == written
    assert {shard["file"]: shard["sha256"] for shard in found.shards} == hashes(job)
    assert found.counts["files"] == 4
    texts = [t for f in job.files for t, _ in corpus.read_documents(f.path)]
    lines = [line for text in texts for line in text.split("\n")]
    assert found.counts["documents"] == len(texts)
    assert found.counts["sentences"] == len(lines)
    assert found.counts["characters"] == sum(map(len, lines))
    assert found.counts["sequences"] == sum(s["sequences"] for s in found.shards)
    copy = pathlib.Path(found.vocab_path).read_bytes()
    assert hashlib.sha256(copy).hexdigest() == found.vocab_sha256
    assert not os.path.exists(job.outputs.work_folder)


def test_bytes_do_not_depend_on_workers_or_order_of_files(make_job, tmp_path):
    one = make_job(out="one")
    local.run(one, 1, False)
    two = make_job(out="two")
    local.run(two, 2, False)
    assert hashes(one) == hashes(two)
    # The same documents in one file and in another order.
    texts = [t for f in one.files for t, _ in corpus.read_documents(f.path)]
    random.Random(0).shuffle(texts)
    path = tmp_path / "all.txt"
    path.write_text("\n\n\n".join(texts) + "\n", encoding="utf-8")
    shuffled = make_job(inputs=str(path), out="three")
    local.run(shuffled, 1, False)
    assert hashes(one) == hashes(shuffled)


def test_shards_are_made_of_several_buckets(make_job, monkeypatch):
    monkeypatch.setattr(buckets_lib, "BUCKET_BYTES", 40_000)
    job = make_job(num_shards=2)
    assert job.buckets_per_shard > 2
    written = local.run(job, 1, False)
    assert {shard["file"]: shard["sha256"] for shard in written.shards} == hashes(job)


def test_only_missing_shards_are_made_again(make_job, monkeypatch):
    job = make_job()
    local.run(job, 1, False)
    before = hashes(job)
    os.remove(job.outputs.shards[1])
    pathlib.Path(job.outputs.shards[2]).write_bytes(b"half")
    made = []
    make_part = workers_lib.make_part
    monkeypatch.setattr(
        workers_lib,
        "make_part",
        lambda *args: made.append(args[2]) or make_part(*args),
    )
    local.run(job, 1, False)
    assert made == [1, 2]
    assert hashes(job) == before
    local.run(job, 1, False)
    assert made == [1, 2]


def test_finished_parts_of_a_failed_run_are_used(make_job, monkeypatch):
    whole = make_job(out="whole")
    local.run(whole, 1, False)
    job = make_job()
    fail_at_bucket(job, monkeypatch, 2)
    assert not os.path.exists(job.outputs.manifest)
    local.run(job, 1, False)
    assert hashes(job) == hashes(whole)


def test_overwriting_resumes_an_unfinished_run_of_the_same_job(make_job, monkeypatch):
    other = make_job(dataclasses.replace(SETTINGS, random_seed=1))
    local.run(other, 1, False)
    job = make_job()
    fail_at_bucket(job, monkeypatch, 2, overwrite=True)
    begun = os.stat(job.outputs.shards[0]).st_mtime_ns
    local.run(job, 1, True)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns == begun
    # A finished output is made again.
    local.run(job, 1, True)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns > begun


def test_shards_of_a_failed_run_are_removed_with_it(make_job, monkeypatch):
    fail_at_bucket(make_job(num_shards=3), monkeypatch, 2)
    fewer = make_job(num_shards=2)
    local.run(fewer, 1, True)
    assert [name[-14:] for name in hashes(fewer)] == ["f-00002.tfrecord"[-14:]] * 2


def test_removed_shard_of_a_failed_run_is_made_again(make_job, monkeypatch):
    whole = make_job(out="whole")
    local.run(whole, 1, False)
    job = make_job()
    fail_at_bucket(job, monkeypatch, 2)
    os.remove(job.outputs.shards[0])
    local.run(job, 1, False)
    assert hashes(job) == hashes(whole)


def test_finished_shard_that_was_damaged_is_made_again(make_job):
    job = make_job()
    local.run(job, 1, False)
    before = hashes(job)
    shard = pathlib.Path(job.outputs.shards[1])
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    local.run(job, 1, False)
    assert hashes(job) == before


def test_missing_files_beside_finished_shards_are_written_again(make_job):
    job = make_job()
    local.run(job, 1, False)
    before = pathlib.Path(job.outputs.manifest).read_bytes()
    for path in (job.outputs.vocabulary, job.outputs.report_page):
        os.remove(path)
    local.run(job, 1, False)
    assert all(map(os.path.exists, job.outputs.beside_shards))
    assert pathlib.Path(job.outputs.manifest).read_bytes() == before


def test_lost_counts_of_tokens_are_counted_again(make_job):
    job = make_job()
    local.run(job, 1, False)
    before = pathlib.Path(job.outputs.token_counts).read_bytes()
    for lost in (job.outputs.shards[1], job.outputs.token_counts):
        os.remove(lost)
        local.run(job, 1, False)
        assert pathlib.Path(job.outputs.token_counts).read_bytes() == before


def test_vocabulary_in_the_place_of_its_copy_stays(make_job, monkeypatch):
    job = make_job()
    local.run(job, 1, False)
    own = vocab.load_vocabulary(job.outputs.vocabulary)
    again = dataclasses.replace(make_job(), vocabulary=own)
    fail_at_bucket(again, monkeypatch, 0, overwrite=True)
    assert pathlib.Path(own.path).read_bytes() == own.data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"random_seed": 1}, "begun with random_seed=12345, now it is 1"),
        ({"dupe_factor": 1}, "begun with dupe_factor=2, now it is 1"),
        ({"segmenter": "none"}, "begun with segmenter=rjieba, now it is none"),
    ],
)
def test_other_flags_over_an_output_are_refused(make_job, changes, message):
    job = make_job()
    local.run(job, 1, False)
    before = hashes(job)
    other = make_job(Settings(**{**SETTINGS.__dict__, **changes}))
    with pytest.raises(ValueError, match=message):
        local.run(other, 1, False)
    assert hashes(job) == before
    local.run(other, 1, True)
    assert hashes(job) != before


def test_other_number_of_shards_is_refused_and_overwritten(make_job):
    job = make_job()
    local.run(job, 1, False)
    fewer = make_job(num_shards=2)
    with pytest.raises(ValueError, match="begun with shards="):
        local.run(fewer, 1, False)
    local.run(fewer, 1, True)
    assert [name[-14:] for name in hashes(job)] == ["f-00002.tfrecord"[-14:]] * 2


@pytest.fixture
def make_copy_job(make_job, tmp_path):
    """Makes jobs of a copy of the sample corpus; the first one has been run."""
    inputs = tmp_path / "in"
    shutil.copytree(SAMPLE, inputs)
    make = functools.partial(make_job, inputs=f"{inputs}/*.txt")
    local.run(make(), 1, False)
    return make


def test_longer_input_is_refused(make_copy_job, tmp_path):
    path = tmp_path / "in" / "news.txt"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=r"news.txt' has changed since"):
        local.run(make_copy_job(), 1, False)


def test_other_input_of_the_same_size_is_refused(make_copy_job, tmp_path):
    path = tmp_path / "in" / "news.txt"
    path.write_bytes(path.read_bytes().replace("的".encode(), "地".encode(), 1))
    with pytest.raises(ValueError, match=r"news.txt' has changed since"):
        local.run(make_copy_job(), 1, False)


def test_touched_input_is_no_change(make_copy_job, tmp_path):
    path = tmp_path / "in" / "news.txt"
    path.write_bytes(path.read_bytes())
    job = make_copy_job()
    made = os.stat(job.outputs.shards[0]).st_mtime_ns
    local.run(job, 1, False)
    assert os.stat(job.outputs.shards[0]).st_mtime_ns == made


def test_missing_input_is_refused(make_copy_job, tmp_path):
    (tmp_path / "in" / "news.txt").unlink()
    with pytest.raises(ValueError, match=r"also read .*news.txt'"):
        local.run(make_copy_job(), 1, False)


def test_foreign_output_is_not_overwritten(make_job):
    job = make_job(num_shards=1)
    os.makedirs(os.path.dirname(job.outputs.manifest))
    pathlib.Path(job.outputs.shards[0]).write_bytes(b"precious")
    with pytest.raises(ValueError, match="exists and no manifest says what made it"):
        local.run(job, 1, False)
    assert pathlib.Path(job.outputs.shards[0]).read_bytes() == b"precious"


def test_foreign_file_beside_the_output_is_not_overwritten(make_job):
    job = make_job(num_shards=1)
    os.makedirs(os.path.dirname(job.outputs.manifest))
    pathlib.Path(job.outputs.vocabulary).write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"vocab.txt' exists and no manifest says wha"):
        local.run(job, 1, False)
    assert pathlib.Path(job.outputs.vocabulary).read_bytes() == b"precious"


def test_vocabulary_may_stand_beside_the_output_already(make_job):
    job = make_job(num_shards=1)
    os.makedirs(os.path.dirname(job.outputs.manifest))
    pathlib.Path(job.outputs.vocabulary).write_bytes(job.vocabulary.data)
    local.run(job, 1, False)
    assert os.path.exists(job.outputs.manifest)


def test_unreadable_manifest_is_refused_then_overwritten(make_job):
    job = make_job(num_shards=1)
    local.run(job, 1, False)
    before = hashes(job)
    pathlib.Path(job.outputs.manifest).write_text("{")
    with pytest.raises(ValueError, match="is not readable: make the records again"):
        local.run(job, 1, False)
    local.run(job, 1, True)
    assert hashes(job) == before


def test_foreign_folder_in_the_place_of_work_is_kept(make_job):
    job = make_job(num_shards=1)
    os.makedirs(job.outputs.work_folder)
    thesis = pathlib.Path(job.outputs.work_folder) / "thesis.tex"
    thesis.write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"is needed for work but holds 'thesis"):
            local.run(job, 1, overwrite)
    assert thesis.read_text() == "precious"


def test_text_without_a_sequence_is_refused(make_job, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("好\n", encoding="utf-8")
    job = make_job(inputs=str(path), num_shards=1)
    with pytest.raises(ValueError, match="gave no sequence"):
        local.run(job, 1, False)
    assert not os.path.exists(job.outputs.manifest)


def test_second_run_at_once_is_refused(make_job):
    job = make_job()
    with (
        run_lock.hold_lock(job.outputs),
        pytest.raises(ValueError, match=r"Another run is writing .*manifest.json' now"),
    ):
        local.run(job, 1, True)
    assert not os.path.exists(job.outputs.lock)
    local.run(job, 1, False)
    assert not os.path.exists(job.outputs.lock)


def test_work_folder_of_an_earlier_version_is_not_resumed(make_job, monkeypatch):
    job = make_job()
    fail_at_bucket(job, monkeypatch, 1)
    spilled = pathlib.Path(job.spill_path(1))
    spilled.rename(spilled.with_name("group-000001.documents"))
    with pytest.raises(ValueError, match="needed for work but holds 'group-000001"):
        local.run(job, 1, False)


def test_lock_on_the_removed_file_of_an_ended_run_is_refused(make_job, monkeypatch):
    job = make_job()
    flock = fcntl.flock

    def lock_after_removal(descriptor, operation):
        if os.path.exists(job.outputs.lock):
            os.remove(job.outputs.lock)
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lock_after_removal)
        with (
            pytest.raises(ValueError, match="Another run is writing"),
            run_lock.hold_lock(job.outputs),
        ):
            pass
    with run_lock.hold_lock(job.outputs):
        assert os.path.exists(job.outputs.lock)


def test_lock_of_a_killed_run_does_not_hold(make_job):
    job = make_job()
    os.makedirs(os.path.dirname(job.outputs.lock))
    pathlib.Path(job.outputs.lock).touch()
    local.run(job, 1, False)
    assert os.path.exists(job.outputs.manifest)
    assert not os.path.exists(job.outputs.lock)


@pytest.mark.parametrize("name", ["../victim.txt", "{folder}/victim.txt"])
def test_overwriting_removes_only_files_of_the_folder(make_job, tmp_path, name):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    job = make_job()
    local.run(job, 1, False)
    path = pathlib.Path(job.outputs.manifest)
    text = path.read_text()
    own = os.path.basename(job.outputs.shards[1])
    path.write_text(text.replace(f'"{own}"', f'"{name.format(folder=tmp_path)}"'))
    with pytest.raises(ValueError, match="which is no file beside it: it is damaged"):
        local.run(job, 1, False)
    other = dataclasses.replace(
        job, settings=dataclasses.replace(job.settings, random_seed=1)
    )
    local.run(other, 1, True)
    assert victim.read_text() == "precious"
