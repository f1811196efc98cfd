import dataclasses
import json

import numpy as np
import pytest

from bert_cn.pretraining import dynamic_masking, fingerprint
from bert_cn.pretraining import record_files as record_files_lib
from data_prep.records import masking
from data_prep.text import vocab as vocab_lib

FIXED = {"train_batch_size": 8, "data_sha256": "a", "file_groups": [[2, 0.5], [1, 0.5]]}
FREE = {"num_train_steps": 100, "num_replicas": 8, "num_hosts": 1}
BEGUN = fingerprint.Fingerprint(FIXED, FREE)


def test_data_are_the_same_in_another_folder(files, tmp_path):
    paths = []
    for path in files.paths:
        with open(path, "rb") as file:
            paths.append(tmp_path / path.rpartition("/")[2])
            paths[-1].write_bytes(file.read())
    group = record_files_lib.FileGroup(tuple(map(str, paths)))
    moved = dataclasses.replace(files, groups=(group,))
    described = fingerprint.describe_data(files, None)
    assert described == fingerprint.describe_data(moved, None)
    assert described["file_groups"] == [[2, 1.0]]
    paths[1].write_bytes(b"shorter")
    assert described != fingerprint.describe_data(moved, None)


def test_groups_weights_masking_rules_and_vocabulary_count(files):
    def describe(groups=files.groups, masker=None, vocabulary=None):
        changed = dataclasses.replace(files, groups=groups, masker=masker)
        return fingerprint.describe_data(changed, vocabulary)

    one, two = files.paths

    def groups(first, second):
        return (
            record_files_lib.FileGroup((one,), first),
            record_files_lib.FileGroup((two,), second),
        )

    described = [describe(), describe(groups(1, 1)), describe(groups(3, 1))]
    assert described[2]["file_groups"] == [[1, 0.75], [1, 0.25]]
    # Shares are what counts.
    assert describe(groups(6, 2)) == described[2]
    for rules in (
        masking.MaskingRules(),
        masking.MaskingRules(masked_lm_prob=0.2),
        masking.MaskingRules(masking="ngram"),
        masking.MaskingRules(mask_unit="word"),
    ):
        masker = dynamic_masking.Masker(rules, 4, np.arange(5, 9))
        described.append(describe(masker=masker))
    for data in (b"a\n", b"b\n"):
        vocabulary = vocab_lib.Vocabulary(("a",), "v", data)
        described.append(describe(vocabulary=vocabulary))
    # As they come back from the file.
    described = [json.loads(json.dumps(one)) for one in described]
    for index, one in enumerate(described):
        assert one not in described[:index]


def test_same_run_passes_in_silence(tmp_path, capsys):
    assert not fingerprint.has_fingerprint(str(tmp_path))
    fingerprint.check_fingerprint(str(tmp_path), BEGUN)
    fingerprint.write_fingerprint(str(tmp_path), BEGUN)
    assert fingerprint.has_fingerprint(str(tmp_path))
    fingerprint.check_fingerprint(str(tmp_path), BEGUN)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_batch_size", 16, "of --train_batch_size .then 8, now 16.: resume it"),
        ("data_sha256", "b", "of the records of --input_file .then a, now b"),
        (
            "file_groups",
            [[2, 0.8], [1, 0.2]],
            r"of the weights in --input_file .*\[\[2, 0.5.*, now \[\[2, 0.8",
        ),
    ],
)
def test_other_value_is_named(tmp_path, name, value, message):
    fingerprint.write_fingerprint(str(tmp_path), BEGUN)
    other = fingerprint.Fingerprint(FIXED | {name: value}, FREE)
    with pytest.raises(ValueError, match=message):
        fingerprint.check_fingerprint(str(tmp_path), other)


def test_changes_that_are_allowed_are_printed(tmp_path, capsys):
    fingerprint.write_fingerprint(str(tmp_path), BEGUN)
    free = {"num_train_steps": 200, "num_replicas": 1, "num_hosts": 2}
    fingerprint.check_fingerprint(str(tmp_path), fingerprint.Fingerprint(FIXED, free))
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "Now --num_train_steps is 200, before it was 100",
        "Now the number of devices is 1, before it was 8",
        "Now the number of hosts is 2, before it was 1",
    ]
    assert "learning rate jumps to the curve of the new number" in lines[0]
    assert "not those of an unbroken run to the last bit" in lines[1]
    assert "this epoch holds some twice and some not at all" in lines[2]


def test_values_that_an_earlier_version_did_not_note_are_not_compared(tmp_path, capsys):
    earlier = fingerprint.Fingerprint({"train_batch_size": 8}, {})
    fingerprint.write_fingerprint(str(tmp_path), earlier)
    fingerprint.check_fingerprint(str(tmp_path), BEGUN)
    assert capsys.readouterr().out == ""
