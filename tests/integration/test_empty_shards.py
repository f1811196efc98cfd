"""Training on records of so little text that some shards stay empty."""

import pytest

from bert_cn.pretraining import input_pipeline, record_files
from data_prep.records import schema
from data_prep.records.settings import Settings
from data_prep.runner import local, outputs
from data_prep.runner.job import Job
from data_prep.text import corpus
from data_prep.text import vocab as vocab_lib

LENGTH, PREDICTIONS = 16, 3
TEXT = "天气很好。\n我们出去。"


@pytest.fixture
def shards(tmp_path) -> list[str]:
    """Three files, of which the first holds no record."""
    text = tmp_path / "text.txt"
    text.write_text(TEXT + "\n", encoding="utf-8")
    vocab = tmp_path / "vocab.txt"
    tokens = (*vocab_lib.REQUIRED_TOKENS, *sorted(set(TEXT) - {"\n"}))
    vocab.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    job = Job(
        corpus.find_files(str(text)),
        vocab_lib.load_vocabulary(str(vocab)),
        Settings(max_seq_length=LENGTH, max_predictions_per_seq=PREDICTIONS),
        outputs.plan_outputs(str(tmp_path / "train.tfrecord"), 3),
    )
    counts = [s["sequences"] for s in local.run(job, 1, False).shards]
    assert counts[0] == 0 < sum(counts)
    return list(job.outputs.shards)


def check(*groups):
    return record_files.check_files(
        tuple(record_files.FileGroup(tuple(paths)) for paths in groups),
        LENGTH,
        PREDICTIONS,
    )


def test_empty_first_shard_is_passed_over(shards):
    dataset = input_pipeline.build_train_dataset(check(shards), batch_size=2, seed=1)
    (batch,) = dataset.take(1)
    assert batch[schema.INPUT_IDS].shape == (2, LENGTH)


def test_group_without_a_record_is_refused(shards):
    with pytest.raises(ValueError, match=r"train-00000.*no record.*leave it out"):
        check(shards, shards[:1])
