"""Reading in parts, by several processes, and texts with weights."""

import collections
import dataclasses
import hashlib
import os
import pathlib

import pytest

from data_prep.runner import held_out, local, spill, workers
from data_prep.text import byte_ranges, corpus
from tests.data_prep.runner.conftest import SETTINGS
from tests.data_prep.runner.test_local import hashes


@pytest.fixture
def one_file(make_job, tmp_path) -> str:
    """The sample corpus as one file."""
    texts = [
        text
        for file in make_job().files
        for text, _ in corpus.read_documents(file.path)
    ]
    path = tmp_path / "all.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return str(path)


def count_documents(job) -> collections.Counter:
    """Spill a job; return its documents with their copies."""
    os.makedirs(job.outputs.work_folder)
    for part in spill.list_parts(job):
        spill.spill_part(job, None, part, lambda *_: None)
    found = collections.Counter()
    for bucket in range(job.num_buckets):
        for text, copies in zip(*spill.load_bucket(job, bucket), strict=True):
            found[text] += copies
    return found


def test_parts_of_a_file_are_read_by_several_processes(make_job, one_file, monkeypatch):
    whole = make_job(inputs=one_file, out="whole")
    local.run(whole, 1, False)
    monkeypatch.setattr(byte_ranges, "RANGE_BYTES", 20_000)
    monkeypatch.setattr(local, "_BYTES_PER_READER", 1000)
    job = make_job(inputs=one_file)
    parts = spill.list_parts(job)
    assert len(parts) > 5
    used = []
    run_tasks = workers.run_tasks
    monkeypatch.setattr(
        workers,
        "run_tasks",
        lambda job, items, count, *rest: (
            used.append(count) or run_tasks(job, items, count, *rest)
        ),
    )
    written = local.run(job, 2, False)
    assert used[0] == 2
    assert hashes(job) == hashes(whole)
    checksum = hashlib.sha256(pathlib.Path(one_file).read_bytes()).hexdigest()
    assert written.inputs[0]["sha256"] == checksum


def test_error_in_a_part_names_its_place(make_job, one_file, monkeypatch):
    monkeypatch.setattr(byte_ranges, "RANGE_BYTES", 20_000)
    monkeypatch.setattr(local, "_BYTES_PER_READER", 1000)
    data = bytearray(pathlib.Path(one_file).read_bytes())
    place = data.index(b"\n\n", 50_000) + 2
    data[place:place] = b"\xff\n\n"
    pathlib.Path(one_file).write_bytes(data)
    job = make_job(inputs=one_file)
    with pytest.raises(ValueError, match=f"is not UTF-8 at byte {place}: found"):
        local.run(job, 2, False)


@pytest.fixture
def two_texts(tmp_path) -> tuple[str, str]:
    """Two files; the second has three times as much text as the first."""
    paths = []
    for name, count in (("little", 200), ("plenty", 600)):
        path = tmp_path / f"{name}.txt"
        texts = (f"{name} {n:03d}\n第二行{n:03d}" for n in range(count))
        path.write_text("\n\n".join(texts), encoding="utf-8")
        paths.append(str(path))
    return tuple(paths)


def test_weights_are_shares_of_the_text(make_job, two_texts):
    little, much = two_texts
    job = make_job(inputs=f"{little}:1,{much}:2")
    copies = {os.path.basename(f.path): f.copies for f in job.files}
    assert copies["plenty.txt"] == 1
    assert copies["little.txt"] == pytest.approx(1.5, rel=0.05)
    found = count_documents(job)
    assert {n for text, n in found.items() if text.startswith("plenty")} == {1}
    times = [n for text, n in found.items() if text.startswith("little")]
    assert set(times) == {1, 2}
    assert sum(times) / 200 == pytest.approx(1.5, abs=0.12)
    # An entry without a weight has 1; without any weight each text is used once.
    assert make_job(inputs=f"{little},{much}:2").files == job.files
    assert {f.copies for f in make_job(inputs=f"{little},{much}").files} == {1}


def test_copies_are_used_after_duplicates_are_dropped(make_job, two_texts):
    little, much = two_texts
    settings = dataclasses.replace(SETTINGS, deduplicate="exact")
    plain = make_job(settings, inputs=f"{little},{much}", out="plain")
    mixed = make_job(settings, inputs=f"{little}:2,{much}:1", out="mixed")
    before = local.run(plain, 1, False).counts
    after = local.run(mixed, 1, False).counts
    assert before["copies_added"] == after["duplicates_dropped"] == 0
    copies = next(f.copies for f in mixed.files if f.copies > 1)
    assert after["copies_added"] / 200 == pytest.approx(copies - 1, abs=0.12)
    assert after["documents"] == before["documents"] + after["copies_added"]


def test_held_out_text_is_used_once(make_job, two_texts):
    little, much = two_texts
    settings = dataclasses.replace(SETTINGS, eval_fraction=0.3)
    job = make_job(settings, inputs=f"{little}:5,{much}:1")
    shown, rest = held_out.split_job(job)
    held, used = count_documents(shown), count_documents(rest)
    assert set(held.values()) == {1}
    assert max(used.values()) > 10
    assert not held.keys() & used.keys()


def test_bad_weights_are_refused(make_job, two_texts):
    little, much = two_texts
    for inputs, message in (
        (f"{little}:0,{much}", "has weight 0: leave it out"),
        (f"{little}:5,{little}:2", "name each file once"),
        (f"{little}:1,{much}:0.0001", "used 30[0-9]{3} times"),
    ):
        with pytest.raises(ValueError, match=message):
            make_job(inputs=inputs)


def test_other_weights_are_another_job(make_job, two_texts):
    little, much = two_texts
    local.run(make_job(inputs=f"{little}:1,{much}:2"), 1, False)
    with pytest.raises(ValueError, match="has another weight than in the earlier out"):
        local.run(make_job(inputs=f"{little}:2,{much}:2"), 1, False)
