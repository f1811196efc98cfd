import dataclasses
import random

import pytest

from data_prep.runner import (
    bucket_documents,
    held_out,
    local,
    merging,
    repeated_lines,
)
from data_prep.runner import buckets as buckets_lib
from tests.data_prep.runner.conftest import SAMPLE, SETTINGS

MENU, NOTICE, RARE = "首页 新闻 关于我们", "版权所有 不得转载", "记者报道"


@pytest.fixture
def documents(tmp_path) -> tuple[str, list[str]]:
    """A file of 120 documents, many with the same lines around; the texts alone."""
    lines = [
        line
        for path in sorted(SAMPLE.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]
    draw = random.Random(5)
    texts = ["\n".join(draw.sample(lines, 4)) + f"\n第{n}篇" for n in range(120)]
    page = [
        "\n".join(
            [
                *([f" {MENU}\t"] * (number % 2 == 0)),
                text,
                *([RARE] * (number < 20)),
                # Twice in a document is one document.
                *([NOTICE, NOTICE] * (number >= 20)),
            ]
        )
        for number, text in enumerate(texts)
    ]
    path = tmp_path / "pages.txt"
    path.write_text("\n\n".join([*page, MENU]), encoding="utf-8")
    kept = [
        text + ("\n" + RARE if number < 20 else "") for number, text in enumerate(texts)
    ]
    return str(path), sorted(kept)


def with_limit(**changes):
    return dataclasses.replace(SETTINGS, drop_repeated_lines=30, **changes)


def read_kept(job) -> list[str]:
    local.prepare(job, None, 1)
    local.compare(job, 1)
    found = [
        text
        for bucket in range(job.num_buckets)
        for text in bucket_documents.load(job, bucket)[0]
    ]
    return sorted(text for text in found if text)


@pytest.mark.parametrize("range_entries", [1 << 23, 50])
def test_lines_of_many_documents_are_removed(
    make_job, documents, monkeypatch, range_entries
):
    monkeypatch.setattr(buckets_lib, "BUCKET_BYTES", 10_000)
    monkeypatch.setattr(merging, "_RANGE_ENTRIES", range_entries)
    path, kept = documents
    job = make_job(with_limit(), inputs=path)
    assert job.num_buckets > 3
    assert read_kept(job) == kept


def test_document_of_such_lines_alone_is_no_document(make_job, documents):
    path, kept = documents
    made = [
        local.run(make_job(with_limit(), inputs=path, out=f"w{n}"), n, False)
        for n in (1, 2)
    ]
    one, other = ([shard["sha256"] for shard in m.shards] for m in made)
    assert one == other
    counts = made[0].counts
    assert counts["documents"] == len(kept) == 120
    assert counts["repeated_lines_dropped"] == 60 + 1 + 2 * 100
    page = open(made[0].path.replace(".manifest.json", ".report.md")).read()
    assert "| Lines dropped (`--drop_repeated_lines`) | 261 |" in page


def test_both_sides_count_all_documents(make_job, documents):
    path, kept = documents
    jobs = held_out.split_job(make_job(with_limit(eval_fraction=0.2), inputs=path))
    shown, rest = map(read_kept, jobs)
    # Fewer than 31 documents are held out, but the lines stand in more.
    assert 5 < len(shown) < 31
    assert sorted(shown + rest) == kept


def test_similar_documents_are_found_without_those_lines(make_job, documents):
    path, kept = documents
    job = make_job(with_limit(deduplicate="near", dupe_factor=1), inputs=path)
    manifest = local.run(job, 1, False)
    assert manifest.counts["near_duplicates_dropped"] == 0
    assert manifest.counts["documents"] == len(kept)


def test_interrupted_count_is_repeated(make_job, documents, monkeypatch):
    path, kept = documents
    job = make_job(with_limit(), inputs=path)
    local.prepare(job, None, 1)
    local.compare(job, 1)
    monkeypatch.setattr(repeated_lines, "count_bucket", lambda *_: 1 / 0)
    assert local.run(job, 1, False).counts["documents"] == len(kept)
