"""Records that hold several sequences, from the data stage to a step of training."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.pretraining import evaluation, input_pipeline, record_files, train_step
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from data_prep.records import manifest as manifest_lib
from data_prep.records import schema
from data_prep.records.settings import Settings

LENGTH, MOST = 64, 6
SETTINGS = Settings(
    max_seq_length=LENGTH,
    max_predictions_per_seq=10,
    masking="wwm",
    masking_time="dynamic",
    dupe_factor=1,
    pack_sequences=MOST,
    compression="GZIP",
)


@pytest.fixture(scope="module")
def packed(write_records):
    return check(write_records("packed", SETTINGS))


def check(paths) -> record_files.RecordFiles:
    return record_files.check_files((record_files.FileGroup(paths),))


def read_epoch(files) -> dict[str, np.ndarray]:
    """Return all records, in file order."""
    batches = list(input_pipeline.build_eval_dataset(files, 8))
    return {
        name: np.concatenate([batch[name].numpy() for batch in batches])
        for name in batches[0]
    }


def build_trainer(files, takes_parts: bool, **settings) -> train_step.Trainer:
    config = config_lib.BertConfig(
        vocab_size=files.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
    )
    return train_step.build_trainer(
        settings_lib.PretrainingArgs(**settings),
        config,
        tf.distribute.get_strategy(),
        takes_parts=takes_parts,
    )


def test_rows_are_full_and_lose_nothing(packed, write_records):
    (manifest,) = packed.manifests
    counts = manifest.counts
    alone = dataclasses.replace(SETTINGS, pack_sequences=1)
    (unpacked,) = check(write_records("unpacked", alone)).manifests
    assert counts["tokens"] == unpacked.counts["tokens"]
    assert counts["truncated_tokens"] == counts["dropped_tokens"] == 0
    assert counts["parts"] > 1.1 * counts["sequences"]
    assert 0.45 < counts["random_next"] / counts["parts"] < 0.55
    padding, before = (
        1 - c["sequence_tokens"] / c["sequences"] / LENGTH
        for c in (counts, unpacked.counts)
    )
    assert padding < 0.05 < 0.1 < before


def test_each_part_is_a_pair(packed):
    records = read_epoch(packed)
    (manifest,) = packed.manifests
    is_part = records[schema.NEXT_SENTENCE_WEIGHTS] > 0
    assert is_part.sum() == manifest.counts["parts"]
    labels = records[schema.NEXT_SENTENCE_LABELS]
    assert (labels * is_part).sum() == manifest.counts["random_next"]
    ids = records[schema.INPUT_IDS]
    cls = np.take_along_axis(ids, records[schema.CLS_POSITIONS], axis=1)
    cls_id, sep_id = 2, 3  # in the vocabulary of these tests
    assert (cls[is_part] == cls_id).all()
    assert (ids == cls_id).sum() == is_part.sum()
    # Each pair ends with [SEP], and has one between A and B.
    assert (ids == sep_id).sum() == 2 * is_part.sum()
    parts, positions = records[schema.PART_IDS], records[schema.POSITION_IDS]
    begins = np.diff(parts, axis=1, prepend=0) > 0
    assert (ids[begins] == cls_id).all()
    assert not positions[begins].any()
    steps = np.diff(positions, axis=1)
    assert (steps[~begins[:, 1:] & (parts[:, 1:] > 0)] == 1).all()


def test_model_trains_on_packed_rows_and_is_evaluated_on_others(packed, write_records):
    trainer = build_trainer(packed, True, shift_positions=False)
    dataset = input_pipeline.build_train_dataset(packed, 8, 1)
    sums = trainer.train_steps(iter(dataset), tf.constant(3)).sums
    metrics = trainer.summarize(sums)
    assert metrics["loss"] > metrics["masked_lm_loss"] > 1
    # The same weights on records of one pair: with and without a place for several.
    settings = dataclasses.replace(
        *(SETTINGS,), pack_sequences=1, masking_time="static", compression="ZLIB"
    )
    others = check(write_records("one", settings))
    plain = build_trainer(packed, False)
    for one, other in zip(plain.model.variables, trainer.model.variables, strict=True):
        one.assign(other)
    found = []
    for measured in (trainer, plain):
        dataset = input_pipeline.build_eval_dataset(others, 8)
        found.append(evaluation.evaluate(measured, dataset, 0))
    (metrics, count), (expected, expected_count) = found
    assert count == expected_count == others.manifests[0].counts["sequences"]
    assert metrics == pytest.approx(expected, rel=1e-4)


def test_held_out_pairs_have_a_record_each(write_records):
    settings = dataclasses.replace(SETTINGS, eval_fraction=0.3)
    paths = write_records("split_packed", settings)
    args = settings_lib.PretrainingArgs(
        input_file=",".join(paths), do_train=True, do_eval=True
    )
    records = records_lib.load_records(args)
    assert records.takes_parts
    assert (records.train.pack_sequences, records.eval.pack_sequences) == (MOST, 1)
    assert records.eval.compression == "GZIP"
    held_out = manifest_lib.find_manifest(records.eval.paths[0])
    assert held_out.settings.masking_time == "static"
    assert held_out.counts["parts"] == held_out.counts["sequences"]


def test_packed_and_other_records_do_not_mix(packed, write_records):
    alone = dataclasses.replace(SETTINGS, pack_sequences=1)
    others = write_records("unpacked", alone)
    with pytest.raises(ValueError, match=r"--pack_sequences=1, .* with 6: train on"):
        check((*others, *packed.paths))


def test_lines_are_packed_too(write_records):
    settings = dataclasses.replace(SETTINGS, packing="lines", sentence_task="none")
    files = check(write_records("lines", settings))
    records = read_epoch(files)
    assert not records[schema.SEGMENT_IDS].any()
    assert records[schema.PART_IDS].max() > 1
    counts = files.manifests[0].counts
    assert counts["parts"] > 1.1 * counts["sequences"]
    assert records[schema.INPUT_MASK].sum() == counts["sequence_tokens"]
