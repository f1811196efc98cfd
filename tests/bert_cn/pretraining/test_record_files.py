import os

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.pretraining import record_files as record_files_lib
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.records import schema
from data_prep.records.settings import Settings
from tests.bert_cn import records
from tests.bert_cn.records import LENGTH, PREDICTIONS


def make_manifest(path="", files=(), **settings) -> manifest_lib.Manifest:
    """A manifest that lists files of two records each."""
    return manifest_lib.Manifest(
        settings=Settings(**settings),
        vocab_file="vocab.txt",
        vocab_size=records.VOCAB_SIZE,
        vocab_sha256="",
        inputs=[],
        counts={},
        shards=[
            {
                "file": os.path.basename(file),
                "sequences": 2,
                "bytes": os.path.getsize(file),
                "sha256": storage.hash_file(str(file)),
            }
            for file in files
        ],
        path=str(path),
    )


@pytest.fixture
def described_file(tmp_path):
    """Returns a function: name, length -> a record file whose manifest says that."""

    def write(name: str, length: int, predictions: int = PREDICTIONS):
        """Write both; the file's size stands in the manifest."""
        path = tmp_path / name
        record = records.make_record(np.random.default_rng(0), 0)
        for feature in schema.FEATURES:
            if feature.startswith("masked_lm"):
                record[feature] = np.resize(record[feature], predictions)
        records.write_records(path, [record, record])
        manifest_lib.write_manifest(
            make_manifest(
                f"{path}.manifest.json",
                [path],
                max_seq_length=length,
                max_predictions_per_seq=predictions,
            )
        )
        return path

    return write


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data * 2])
def test_file_that_was_cut_or_added_to_is_refused(check_files, described_file, change):
    path = described_file("a.tfrecord", LENGTH)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"a\.tfrecord has [\d,]+ bytes, and its"):
        check_files([path], None, None)


def test_bytes_are_checked_on_request(described_file):
    path = described_file("a.tfrecord", LENGTH)
    args = settings_lib.PretrainingArgs(
        input_file=str(path), do_eval=True, verify_records=True
    )
    (path.parent / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tfrecord has another sha256 than its"):
        records_lib.load_records(args)


def test_weight_of_zero_is_refused(record_files):
    with pytest.raises(ValueError, match="has weight 0"):
        record_files_lib.find_files(f"{record_files[0]}:0", "--input_file")


def test_glob_without_match_names_pattern_and_flag(tmp_path):
    with pytest.raises(ValueError, match=r"--input_file: .*none-\*.* matches no file"):
        record_files_lib.find_files(f"{tmp_path}/none-*", "--input_file")


def test_manifest_gives_the_shape_that_flags_leave_open(check_files, described_file):
    files = check_files([described_file("a.tfrecord", LENGTH)], None, None)
    assert (files.max_seq_length, files.max_predictions_per_seq) == (16, 3)


def test_flag_that_the_manifest_contradicts_is_refused(check_files, described_file):
    path = described_file("a.tfrecord", LENGTH)
    with pytest.raises(ValueError, match="16, but --max_seq_length=32: pass .*=16"):
        check_files([path], 32, None)


def test_manifests_of_two_shapes_are_refused(check_files, described_file):
    paths = [described_file("a.tfrecord", LENGTH), described_file("b.tfrecord", 32)]
    with pytest.raises(ValueError, match=r"b.* 32, but those of .*a\.tfrecord with 16"):
        check_files(paths, None, None)


def test_evaluation_on_records_of_another_shape_is_refused(described_file):
    args = settings_lib.PretrainingArgs(
        input_file=str(described_file("a.tfrecord", LENGTH)),
        eval_input_file=str(described_file("b.tfrecord", LENGTH, predictions=4)),
        do_train=True,
    )
    with pytest.raises(ValueError, match=r"\(16, 3\) and \(16, 4\): train and"):
        records_lib.load_records(args)


def test_records_without_manifest_need_flags_unless_their_shape_is_googles(
    check_files, record_files
):
    with pytest.raises(ValueError, match="but --max_seq_length=128: pass --max"):
        check_files(record_files, None, None)


def test_other_length_names_file_and_flag(check_files, record_files):
    with pytest.raises(ValueError, match=r"max_seq_length 16, but --max_seq_length=32"):
        check_files(record_files, 32, PREDICTIONS)


def test_other_number_of_predictions_is_refused(check_files, record_files):
    with pytest.raises(ValueError, match="pass --max_predictions_per_seq=3"):
        check_files(record_files, LENGTH, 20)


def test_storage_that_does_not_answer_is_not_taken_for_bad_records(
    check_files, record_files, monkeypatch
):
    def fail(*_):
        raise tf.errors.UnavailableError(None, None, "503")

    monkeypatch.setattr(tf.data, "TFRecordDataset", fail)
    with pytest.raises(tf.errors.UnavailableError, match="^503$"):
        check_files(record_files)


def test_empty_and_foreign_files_are_named(check_files, tmp_path):
    (tmp_path / "empty.tfrecord").touch()
    (tmp_path / "text.tfrecord").write_text("一行文字\n" * 9, encoding="utf-8")
    with tf.io.TFRecordWriter(str(tmp_path / "other.tfrecord")) as writer:
        writer.write(tf.train.Example().SerializeToString())
    for name, message in (
        ("empty", "holds no record"),
        ("text", "cannot be read as TFRecords"),
        ("other", "not the seven"),
    ):
        with pytest.raises(ValueError, match=message):
            check_files([tmp_path / f"{name}.tfrecord"])


@pytest.mark.parametrize(
    ("manifests", "flag", "casing"),
    [((), None, None), ((), False, False), ((True, True), None, True)],
)
def test_casing_is_that_of_all_records(manifests, flag, casing):
    found = tuple(make_manifest(do_lower_case=lower) for lower in manifests)
    assert records_lib.find_casing(found, flag) is casing


@pytest.mark.parametrize(
    ("manifests", "flag"), [((True, False), None), ((True,), False)]
)
def test_mixed_casing_is_refused(manifests, flag):
    found = tuple(make_manifest(do_lower_case=lower) for lower in manifests)
    with pytest.raises(ValueError, match="differ in their casing, and a model has one"):
        records_lib.find_casing(found, flag)
