from data_prep.runner import buckets, spill
from data_prep.text.corpus import InputFile


def test_group_follows_from_text_and_seed():
    digest = buckets.hash_document("模型", 12345)
    assert digest == buckets.hash_document("模型", 12345)
    assert digest != buckets.hash_document("模型", 12346)
    assert len(digest) == buckets.DIGEST_BYTES


def test_groups_are_even():
    found = [
        buckets.find_group(buckets.hash_document(str(n), 1), 7) for n in range(7000)
    ]
    assert set(found) == set(range(7))
    assert max(map(found.count, range(7))) < 1150


def test_groups_stay_small():
    assert buckets.count_groups_per_shard(1, 8) == 1
    assert buckets.count_groups_per_shard(16 << 20, 1) == 1
    assert buckets.count_groups_per_shard((16 << 20) + 1, 1) == 2
    assert buckets.count_groups_per_shard(1 << 30, 8) == 8


def test_spilled_documents_come_back_by_group_in_hash_order(tmp_path, monkeypatch):
    monkeypatch.setattr(spill, "_WAITING_BYTES", 100)
    texts = [f"文{n}\n字" for n in range(50)] + ["同", "同"]
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    reported = []
    file = InputFile(str(path), path.stat().st_size)
    spill.spill_documents([file], str(tmp_path), 3, 1, reported.append)
    groups = [spill.load_group(str(tmp_path), group) for group in range(3)]
    assert sorted(sum(groups, [])) == sorted(texts)
    assert sum(reported) == file.bytes
    for number, group in enumerate(groups):
        digests = [buckets.hash_document(text, 1) for text in group]
        assert digests == sorted(digests)
        assert all(buckets.find_group(digest, 3) == number for digest in digests)
    assert spill.load_group(str(tmp_path), 99) == []
