import dataclasses
import os

import pytest

from data_prep.records import manifest as manifest_lib
from data_prep.runner import held_out, local, spill
from data_prep.text import corpus
from tests.data_prep.runner.conftest import SETTINGS

DYNAMIC = dataclasses.replace(SETTINGS, masking_time="dynamic", dupe_factor=1)


def with_settings(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def read_texts(job) -> list[str]:
    """The documents of a job, from its spill files."""
    os.makedirs(job.outputs.work_folder)
    for part in spill.list_parts(job):
        spill.spill_part(job, None, part, lambda *_: None)
    return sorted(
        text
        for bucket in range(job.num_buckets)
        for text in spill.load_bucket(job, bucket)[0]
    )


@pytest.fixture
def corpus_with_copies(make_job, tmp_path) -> tuple[str, list[str]]:
    """A file with each document of the sample corpus once or twice, and its texts."""
    texts = [
        text
        for file in make_job().files
        for text, _ in corpus.read_documents(file.path)
    ]
    texts += texts[::3]
    path = tmp_path / "all.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return str(path), sorted(texts)


@pytest.mark.parametrize(
    "settings", [with_settings(eval_fraction=0.2), with_settings(eval_documents=25)]
)
def test_every_document_is_on_one_side(make_job, corpus_with_copies, settings):
    path, texts = corpus_with_copies
    shown, rest = held_out.split_job(make_job(settings, inputs=path))
    held, used = read_texts(shown), read_texts(rest)
    assert sorted(held + used) == texts
    assert not set(held) & set(used)
    if settings.eval_documents:
        assert len(set(held)) == 25
    else:
        assert 0.12 < len(set(held)) / len(set(texts)) < 0.28
    # Whatever else is chosen, the same documents are held out.
    other = dataclasses.replace(settings, random_seed=7, max_seq_length=64)
    again, _ = held_out.split_job(make_job(other, inputs=path, out="other"))
    assert read_texts(again) == held


def test_nothing_is_held_out_by_default(make_job):
    assert held_out.split_job(make_job()) is None


def test_records_of_both_sides_know_what_they_are(make_job):
    settings = dataclasses.replace(DYNAMIC, eval_fraction=0.2)
    shown, rest = held_out.split_job(make_job(settings))
    for job in (shown, rest):
        local.run(job, 1, False)
    found = manifest_lib.find_manifest(rest.outputs.shards[0])
    assert os.path.basename(found.held_out_path) == "eval-train.tfrecord"
    evaluated = manifest_lib.find_manifest(found.held_out_path)
    assert evaluated.settings == dataclasses.replace(
        settings, split="eval", masking_time="static"
    )
    assert found.settings == settings
    assert evaluated.held_out_path == ""
    documents = [m.counts["documents"] for m in (found, evaluated)]
    assert (
        sum(documents) == local.run(make_job(out="whole"), 1, False).counts["documents"]
    )


def test_fraction_that_chooses_nothing_is_refused(make_job):
    shown, _ = held_out.split_job(make_job(with_settings(eval_fraction=1e-9)))
    with pytest.raises(ValueError, match="Not a document of the text is held out"):
        local.run(shown, 1, False)


def test_two_ways_to_say_how_much_are_refused():
    settings = with_settings(eval_fraction=0.1, eval_documents=5)
    with pytest.raises(ValueError, match="both say how much is held out"):
        settings.check()
