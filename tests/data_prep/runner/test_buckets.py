import hashlib

import pytest

from data_prep.records.settings import Settings
from data_prep.runner import buckets, spill
from data_prep.runner.job import Job
from data_prep.runner.outputs import plan_outputs
from data_prep.text.corpus import InputFile


def test_bucket_follows_from_text_and_seed():
    digest = buckets.hash_document("模型", 12345)
    assert digest == buckets.hash_document("模型", 12345)
    assert digest != buckets.hash_document("模型", 12346)
    assert len(digest) == buckets.DIGEST_BYTES


def test_buckets_are_even():
    found = [
        buckets.find_bucket(buckets.hash_document(str(n), 1), 7) for n in range(7000)
    ]
    assert set(found) == set(range(7))
    assert max(map(found.count, range(7))) < 1150


@pytest.mark.parametrize(
    ("corpus_bytes", "num_shards", "expected"),
    [(1, 8, 1), (16 << 20, 1, 1), ((16 << 20) + 1, 1, 2), (1 << 30, 8, 8)],
)
def test_buckets_stay_small(corpus_bytes, num_shards, expected):
    assert buckets.count_buckets_per_shard(corpus_bytes, num_shards) == expected


def test_spilled_documents_come_back_by_bucket_in_hash_order(
    tmp_path, monkeypatch, make_vocabulary
):
    monkeypatch.setattr(spill, "_WAITING_BYTES", 100)
    texts = [f"文{n}\n字" for n in range(50)] + ["同", "同"]
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    file = InputFile(str(path), path.stat().st_size)
    planned = plan_outputs(str(tmp_path / "train.tfrecord"), 3)
    job = Job([file], make_vocabulary(), Settings(random_seed=1), planned)
    (tmp_path / "train.work").mkdir()
    reported = []
    (part,) = spill.list_parts(job)
    checksum = spill.spill_part(job, None, part, lambda size, _: reported.append(size))
    assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()
    found = [spill.load_bucket(job, bucket)[0] for bucket in range(3)]
    assert sorted(sum(found, [])) == sorted(texts)
    assert sum(reported) == file.bytes
    for number, bucket in enumerate(found):
        digests = [buckets.hash_document(text, 1) for text in bucket]
        assert digests == sorted(digests)
        assert all(buckets.find_bucket(digest, 3) == number for digest in digests)
    assert spill.load_bucket(job, 99) == ([], [])
