import dataclasses
import json
import os

import pytest

from data_prep import storage
from data_prep.records import manifest as manifest_lib
from data_prep.records.settings import Settings


@pytest.fixture
def manifest(tmp_path):
    return manifest_lib.Manifest(
        settings=Settings(masking="wwm", dupe_factor=1),
        vocab_file="train.vocab.txt",
        vocab_size=21128,
        vocab_sha256="ab",
        inputs=[{"path": "a.txt", "bytes": 3, "sha256": "cd"}],
        counts={"sequences": 2},
        shards=[{"file": "train.tfrecord", "sequences": 2, "sha256": "ef"}],
        path=str(tmp_path / "train.manifest.json"),
    )


def test_manifest_comes_back_as_written(manifest):
    manifest_lib.write_manifest(manifest)
    assert manifest_lib.read_manifest(manifest.path) == manifest


def test_vocabulary_lies_beside_the_manifest(manifest, tmp_path):
    assert manifest.vocab_path == str(tmp_path / "train.vocab.txt")


def test_manifest_is_found_by_a_record_file_it_lists(manifest, tmp_path):
    other = dataclasses.replace(
        manifest, shards=[{"file": "b"}], path=str(tmp_path / "a.manifest.json")
    )
    manifest_lib.write_manifest(other)
    manifest_lib.write_manifest(manifest)
    found = manifest_lib.find_manifest(str(tmp_path / "train.tfrecord"))
    assert found.path == manifest.path
    assert manifest_lib.find_manifest(str(tmp_path / "stray.tfrecord")) is None


def test_folder_is_listed_and_its_manifests_read_once(manifest, tmp_path, monkeypatch):
    shards = [{"file": "b"}, {"file": "c"}]
    other = dataclasses.replace(
        manifest, shards=shards, path=str(tmp_path / "a.manifest.json")
    )
    for one in (other, manifest):
        manifest_lib.write_manifest(one)
    calls = []
    for name in ("listdir", "open"):
        function = getattr(storage, name)
        monkeypatch.setattr(
            storage,
            name,
            lambda *arguments, function=function: (
                calls.append(function.__name__) or function(*arguments)
            ),
        )
    paths = [str(tmp_path / name) for name in ("c", "train.tfrecord", "stray", "b")]
    found = manifest_lib.find_manifests(paths)
    assert {os.path.basename(path): one.path for path, one in found.items()} == {
        "c": other.path,
        "train.tfrecord": manifest.path,
        "b": other.path,
    }
    assert calls == ["listdir", "open", "open"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable"),
        ("[]", "is not readable"),
        ('{"format_version": 9}', "has format 9, this version reads 1"),
        ('{"format_version": 1}', "lacks counts, deduplicate"),
    ],
)
def test_bad_manifest_is_refused(tmp_path, text, message):
    path = tmp_path / "x.manifest.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        manifest_lib.read_manifest(str(path))


def test_older_manifest_has_what_held_before(manifest):
    manifest_lib.write_manifest(manifest)
    with open(manifest.path, encoding="utf-8") as file:
        content = json.load(file)
    for name in ("truncation", "eval_fraction", "filter", "split"):
        del content[name]
    with open(manifest.path, "w", encoding="utf-8") as file:
        json.dump(content, file)
    found = manifest_lib.read_manifest(manifest.path).settings
    assert found.truncation == "google"
    assert dataclasses.replace(found, truncation="none") == manifest.settings


def test_file_is_flat_json_in_the_order_of_format_1(manifest):
    manifest_lib.write_manifest(manifest)
    with open(manifest.path, encoding="utf-8") as file:
        content = json.load(file)
    assert (
        list(content)
        == (
            "format_version feature_names compression text_field on_bad_utf8 "
            "max_seq_length max_predictions_per_seq sentence_task packing truncation "
            "pack_sequences do_lower_case "
            "vocab_file vocab_size vocab_sha256 segmenter user_dict user_dict_sha256 "
            "traditional fix_punctuation masking mask_unit whole_word_share "
            "similar_words similar_words_sha256 masking_time dupe_factor "
            "masked_lm_prob short_seq_prob random_seed eval_fraction eval_documents "
            "split filter filter_sha256 drop_repeated_lines deduplicate inputs counts "
            "shards"
        ).split()
    )
    assert content["format_version"] == 1
    assert content["masking"] == "wwm"
