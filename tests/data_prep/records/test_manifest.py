import dataclasses
import json
import os

import pytest

from data_prep import storage
from data_prep.records import manifest as manifest_lib


@pytest.fixture
def manifest(tmp_path):
    return manifest_lib.Manifest(
        feature_names="google",
        text_field="text",
        on_bad_utf8="fail",
        max_seq_length=128,
        max_predictions_per_seq=20,
        sentence_task="nsp",
        packing="pairs",
        do_lower_case=True,
        vocab_file="train.vocab.txt",
        vocab_size=21128,
        vocab_sha256="ab",
        segmenter="rjieba",
        user_dict="",
        user_dict_sha256="",
        traditional="auto",
        fix_punctuation=False,
        masking="wwm",
        mask_unit="token",
        masking_time="static",
        dupe_factor=1,
        masked_lm_prob=0.15,
        short_seq_prob=0.1,
        random_seed=12345,
        deduplicate=False,
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


def test_keys_are_plain_json(manifest):
    manifest_lib.write_manifest(manifest)
    with open(manifest.path, encoding="utf-8") as file:
        content = json.load(file)
    assert content["format_version"] == 1
    assert "path" not in content
