import pytest

from bert_cn import fingerprint, input_pipeline
from tests.bert_cn import records

SETTINGS = {"train_batch_size": 8, "random_seed": 1}


def test_same_run_passes_wherever_its_data_lies(record_files, tmp_path):
    files = input_pipeline.check_files(
        (input_pipeline.FileGroup(tuple(record_files)),),
        records.LENGTH,
        records.PREDICTIONS,
    )
    data = fingerprint.describe_data(files)
    assert [entry.split(":")[0] for entry in data] == [
        "part-0.tfrecord",
        "part-1.tfrecord",
    ]
    fingerprint.check_fingerprint(str(tmp_path), SETTINGS, data)
    fingerprint.check_fingerprint(str(tmp_path), SETTINGS, data)
    assert (tmp_path / "fingerprint.json").exists()


def test_other_setting_is_named(tmp_path):
    fingerprint.check_fingerprint(str(tmp_path), SETTINGS, ["a: 1"])
    other = SETTINGS | {"train_batch_size": 16}
    with pytest.raises(ValueError, match="--train_batch_size .then 8, now 16"):
        fingerprint.check_fingerprint(str(tmp_path), other, ["a: 1"])


def test_other_data_is_named(tmp_path):
    fingerprint.check_fingerprint(str(tmp_path), SETTINGS, ["a: 1"])
    with pytest.raises(ValueError, match="the records of --input_file"):
        fingerprint.check_fingerprint(str(tmp_path), SETTINGS, ["a: 2"])
