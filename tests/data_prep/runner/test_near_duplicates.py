import dataclasses
import random

import numpy as np
import pytest

from data_prep.runner import buckets as buckets_lib
from data_prep.runner import held_out, local, merging, near_duplicates, spill
from tests.data_prep.runner.conftest import SAMPLE, SETTINGS

NEAR = dataclasses.replace(SETTINGS, deduplicate="near", dupe_factor=1)


def change(text: str, share: float, draw: random.Random) -> str:
    """Replace a share of the characters by others of the text."""
    letters = list(text)
    places = [place for place, letter in enumerate(letters) if letter != "\n"]
    for place in draw.sample(places, round(share * len(places))):
        letters[place] = draw.choice(text.replace("\n", ""))
    return "".join(letters)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """300 documents of 12 lines of the sample corpus each."""
    lines = [
        line
        for path in sorted(SAMPLE.glob("*.txt"))
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]
    draw = random.Random(3)
    return ["\n".join(draw.sample(lines, 12)) for _ in range(300)]


def find_pairs(texts: list[str]) -> set[tuple[int, int]]:
    """The pairs of texts that agree in a band and in half of their hashes."""
    signatures = near_duplicates.sign_texts(texts)
    found = set()
    for column in near_duplicates.hash_bands(signatures).T:
        order = np.argsort(column, kind="stable")
        for pair in zip(order, order[1:], strict=False):
            one, other = sorted(pair)
            similarity = (signatures[one] == signatures[other]).mean()
            if column[one] == column[other] and similarity >= 0.5:
                found.add((one, other))
    return found


@pytest.mark.parametrize(
    ("share", "least", "most"), [(0.01, 1, 1), (0.05, 0.85, 1), (0.2, 0, 0.02)]
)
def test_recall_falls_with_the_characters_that_differ(texts, share, least, most):
    draw = random.Random(1)
    changed = [change(text, share, draw) for text in texts]
    pairs = find_pairs([*texts, *changed])
    recall = np.mean([(n, n + len(texts)) in pairs for n in range(len(texts))])
    assert least <= recall <= most
    # Documents of other lines hardly ever agree.
    others = [(a, b) for a, b in pairs if b - a != len(texts)]
    assert len(others) < 0.02 * len(texts)


def test_white_space_does_not_matter():
    one, other, third = near_duplicates.sign_texts(
        ["甲乙丙丁戊 己", "甲 乙丙\n丁戊己", "甲"]
    )
    np.testing.assert_array_equal(one, other)
    assert not (one == third).any()


@pytest.fixture
def planted(texts, tmp_path) -> tuple[str, list[str], list[str]]:
    """A file of texts and near duplicates; the texts that are left, and all."""
    draw = random.Random(2)
    every = list(texts)
    kept = list(texts)
    for number in range(0, 60, 2):
        longer = change(texts[number], 0.005, draw) + "\n尾巴"
        every += [longer, texts[number]]
        kept[number] = longer
    draw.shuffle(every)
    path = tmp_path / "planted.txt"
    path.write_text("\n\n".join(every), encoding="utf-8")
    return str(path), sorted(kept), sorted(every)


def read_kept(job, num_workers=1) -> list[str]:
    local.prepare(job, None, num_workers)
    local.compare(job, num_workers)
    kept = []
    for bucket in range(job.num_buckets):
        texts, _ = spill.load_bucket(job, bucket)
        dropped, _ = near_duplicates.find_dropped(job, bucket, texts)
        kept += [text for place, text in enumerate(texts) if place not in dropped]
    return sorted(kept)


@pytest.mark.parametrize("range_entries", [1 << 23, 100])
def test_the_longest_of_similar_documents_is_kept(
    make_job, planted, monkeypatch, range_entries
):
    monkeypatch.setattr(buckets_lib, "BUCKET_BYTES", 20_000)
    monkeypatch.setattr(merging, "_RANGE_ENTRIES", range_entries)
    path, kept, _ = planted
    job = make_job(NEAR, inputs=path)
    assert job.num_buckets > 10
    assert read_kept(job) == kept


def test_bytes_do_not_depend_on_workers_and_counts_are_reported(make_job, planted):
    path, kept, every = planted
    made = [
        local.run(make_job(NEAR, inputs=path, out=f"w{count}"), count, False)
        for count in (1, 2)
    ]
    assert [s["sha256"] for s in made[0].shards] == [
        s["sha256"] for s in made[1].shards
    ]
    counts = made[0].counts
    assert counts["near_duplicates_dropped"] == len(every) - len(kept) == 60
    assert counts["documents"] == len(kept)
    page = open(made[0].path.replace(".manifest.json", ".report.md")).read()
    assert "| Similar documents dropped (`--deduplicate=near`) | 60 |" in page
    assert "Largest groups of similar documents" in page


def test_interrupted_comparison_is_repeated(make_job, planted, monkeypatch):
    path, kept, _ = planted
    job = make_job(NEAR, inputs=path)
    with monkeypatch.context() as patch:
        patch.setattr(near_duplicates, "choose_kept", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            local.run(job, 1, False)
    signed = []
    sign = near_duplicates.sign_bucket
    monkeypatch.setattr(
        near_duplicates, "sign_bucket", lambda *args: signed.append(args) or sign(*args)
    )
    manifest = local.run(job, 1, False)
    # The signatures were there.
    assert signed == []
    assert manifest.counts["documents"] == len(kept)


def test_training_has_nothing_like_the_text_that_is_held_out(make_job, planted):
    path, _, every = planted
    settings = dataclasses.replace(NEAR, eval_fraction=0.3)
    shown, rest = held_out.split_job(make_job(settings, inputs=path))
    held, used = read_kept(shown), read_kept(rest)
    assert set(held) | set(used) < set(every)
    assert len(held) > 60
    pairs = find_pairs([*held, *used])
    across = [(a, b) for a, b in pairs if a < len(held) <= b]
    assert across == []
    # Without it there would be some.
    exact = dataclasses.replace(settings, deduplicate="none")
    jobs = held_out.split_job(make_job(exact, inputs=path, out="exact"))
    sides = []
    for job in jobs:
        local.prepare(job, None, 1)
        sides.append(
            [t for b in range(job.num_buckets) for t in spill.load_bucket(job, b)[0]]
        )
    pairs = find_pairs([*sides[0], *sides[1]])
    assert any(a < len(sides[0]) <= b for a, b in pairs)
