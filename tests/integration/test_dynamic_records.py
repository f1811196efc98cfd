"""Records stored unmasked by the data stage and masked while training."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import config as config_lib
from bert_cn.pretraining import (
    dynamic_masking,
    evaluation,
    input_pipeline,
    record_files,
    token_frequencies,
    train_step,
    warm_start,
)
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from data_prep.records import compact_parsing, schema
from data_prep.records.settings import Settings
from data_prep.text import vocab

LENGTH, PREDICTIONS = 64, 10
SETTINGS = Settings(
    max_seq_length=LENGTH,
    max_predictions_per_seq=PREDICTIONS,
    masking="wwm",
    masking_time="dynamic",
    dupe_factor=1,
)


@pytest.fixture(scope="module")
def paths(write_records):
    return write_records("dynamic", SETTINGS)


@pytest.fixture(scope="module")
def files(paths):
    return record_files.check_files(
        (record_files.FileGroup(paths),), LENGTH, PREDICTIONS
    )


def read(dataset, batches: int) -> dict[str, np.ndarray]:
    found = list(dataset.take(batches))
    return {
        name: np.concatenate([batch[name].numpy() for batch in found])
        for name in schema.FEATURES
    }


def restore(records) -> np.ndarray:
    """Put the labels back into input_ids."""
    ids = records["input_ids"].copy()
    rows, places = np.nonzero(records["masked_lm_weights"])
    columns = records["masked_lm_positions"][rows, places]
    ids[rows, columns] = records["masked_lm_ids"][rows, places]
    return ids


def masks_of(records) -> dict[bytes, tuple[bytes, bytes]]:
    """Which masks each sequence has; sequences of one epoch are all different."""
    columns = zip(
        restore(records),
        records["input_ids"],
        records["masked_lm_positions"],
        strict=True,
    )
    return {ids.tobytes(): (m.tobytes(), p.tobytes()) for ids, m, p in columns}


def count_records(paths) -> int:
    return sum(1 for _ in tf.data.TFRecordDataset(list(paths)))


def test_stored_records_are_unmasked_and_have_words(paths):
    raw = list(tf.data.TFRecordDataset(list(paths)).as_numpy_iterator())
    stored = set(tf.train.Example.FromString(raw[0]).features.feature)
    assert stored == {schema.SEQUENCES}
    parsed = compact_parsing.parse(tf.constant(raw), LENGTH, 10_000)
    parsed = {name: value.numpy() for name, value in parsed.items()}
    assert parsed.keys() == set(schema.DYNAMIC_FEATURES)
    assert not (parsed["input_ids"] == 4).any()  # [MASK]
    word_ids = parsed["word_ids"]
    special = np.isin(parsed["input_ids"], [0, 1, 2, 3])  # and [UNK]
    assert ((word_ids == 0) == special).all()
    # Numbers go up by one from word to word; some words have several tokens.
    steps = np.diff(word_ids, axis=1)[~special[:, 1:] & ~special[:, :-1]]
    assert set(steps.tolist()) == {0, 1}
    assert (steps == 0).mean() > 0.2


def test_each_epoch_has_other_masks_for_the_same_sequences(files, paths):
    count = count_records(paths)
    batch = 7
    whole = read(input_pipeline.build_train_dataset(files, batch, 1), 2 * count)
    first = {name: value[:count] for name, value in whole.items()}
    second = {name: value[count : 2 * count] for name, value in whole.items()}
    one, two = masks_of(first), masks_of(second)
    assert len(one) == count
    assert one.keys() == two.keys()
    assert np.mean([one[ids] != two[ids] for ids in one]) > 0.95
    lengths = first["input_mask"].sum(axis=1)
    budgets = np.clip(np.rint(0.15 * lengths), 1, PREDICTIONS)
    assert (first["masked_lm_weights"].sum(axis=1) == budgets).mean() > 0.99


def test_resumed_run_sees_the_same_masks(files, paths):
    skip = count_records(paths) + 5  # into the second epoch
    whole = read(input_pipeline.build_train_dataset(files, 5, 1), skip // 5 + 9)
    rest = read(input_pipeline.build_train_dataset(files, 8, 1, skip_records=skip), 4)
    for name in schema.FEATURES:
        np.testing.assert_array_equal(whole[name][skip : skip + 32], rest[name])


def test_hosts_draw_different_masks(files):
    one, two = (
        next(iter(input_pipeline.build_train_dataset(files, 4, 1, 0, host, 4)))
        for host in (0, 1)
    )
    masker = files.masker
    assert (one["masked_lm_positions"] != two["masked_lm_positions"]).numpy().any()
    assert masker.rules == SETTINGS.masking_rules


def test_evaluation_masks_alike_each_time(files):
    first, again = (
        read(input_pipeline.build_eval_dataset(files, 16), 3) for _ in range(2)
    )
    for name in schema.FEATURES:
        np.testing.assert_array_equal(first[name], again[name])
    assert first["masked_lm_weights"].sum() > 100


def test_sentence_order_records_train_and_their_metrics_say_so(write_records, tmp_path):
    paths = write_records("sop", dataclasses.replace(SETTINGS, sentence_task="sop"))
    files = record_files.check_files(
        (record_files.FileGroup(paths),), LENGTH, PREDICTIONS
    )
    (manifest,) = files.manifests
    task = records_lib.find_sentence_task(files)
    assert task == "sop"
    config = config_lib.BertConfig(
        vocab_size=manifest.vocab_size,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=LENGTH,
    )
    trainer = train_step.build_trainer(
        settings_lib.PretrainingArgs(), config, tf.distribute.get_strategy(), task
    )
    dataset = input_pipeline.build_train_dataset(files, 8, 1)
    sums = trainer.train_steps(iter(dataset), tf.constant(2)).sums
    assert set(trainer.summarize(sums)) == {
        *("loss", "masked_lm_loss", "masked_lm_accuracy"),
        *("sentence_order_loss", "sentence_order_accuracy"),
    }
    dataset = input_pipeline.build_eval_dataset(files, 16)
    metrics, records = evaluation.evaluate(trainer, dataset, 0)
    assert records == manifest.counts["sequences"]
    swapped = manifest.counts["swapped"] / records
    assert metrics["sentence_order_majority"] == max(swapped, 1 - swapped)
    assert {name for name in metrics if name.startswith("masked_lm_accuracy_")} == {
        "masked_lm_accuracy_whole_words",
        "masked_lm_accuracy_single_tokens",
    }


def test_graph_holds_no_python(files):
    dataset = input_pipeline.build_train_dataset(files, 4, 1)
    graph = dataset._as_serialized_graph().numpy()
    assert b"PyFunc" not in graph
    assert b"StatelessRandomUniform" in graph


def test_mixed_and_unexplained_records_are_refused(
    paths, write_records, tmp_path, files
):
    static = write_records(
        "static", dataclasses.replace(SETTINGS, masking_time="static")
    )
    with pytest.raises(ValueError, match="--masking_time=dynamic, .* with static"):
        record_files.check_files(
            (record_files.FileGroup((*paths, *static)),), LENGTH, PREDICTIONS
        )
    alone = tmp_path / "alone.tfrecord"
    alone.write_bytes(pathlib.Path(paths[0]).read_bytes())
    with pytest.raises(ValueError, match="no manifest beside it says how"):
        record_files.check_files(
            (record_files.FileGroup((str(alone),)),), LENGTH, PREDICTIONS
        )
    (manifest,) = files.manifests
    settings = dataclasses.replace(manifest.settings, mask_unit="word")
    other = dataclasses.replace(manifest, settings=settings)
    with pytest.raises(ValueError, match="masked at different times or by different"):
        dynamic_masking.build_masker((manifest, other))


def test_mask_rate_falls_over_the_run_and_stays(paths):
    count = count_records(paths)
    args = settings_lib.PretrainingArgs(
        input_file=",".join(paths),
        do_train=True,
        train_batch_size=4,
        num_train_steps=count // 4,
        initial_masked_lm_prob=0.3,
    )
    records = records_lib.load_records(args)
    assert records.train.max_predictions_per_seq == round(0.3 * LENGTH)
    assert records.eval.max_predictions_per_seq == PREDICTIONS
    dataset = input_pipeline.build_train_dataset(records.train, 4, 1)
    found = read(dataset, 2 * (count // 4))
    shares = found["masked_lm_weights"].sum(1) / found["input_mask"].sum(1)
    tenths = [part.mean() for part in np.array_split(shares[: count // 4 * 4], 10)]
    np.testing.assert_allclose(tenths, np.linspace(0.2925, 0.1575, 10), atol=0.015)
    assert shares[count // 4 * 4 :].mean() == pytest.approx(0.15, abs=0.005)
    # A resumed run draws the same masks.
    later = input_pipeline.build_train_dataset(records.train, 4, 1, skip_records=20)
    for name, values in read(later, 3).items():
        np.testing.assert_array_equal(values, found[name][20:32])


def test_falling_mask_rate_needs_records_without_masks(write_records):
    settings = dataclasses.replace(SETTINGS, masking_time="static")
    args = settings_lib.PretrainingArgs(
        input_file=",".join(write_records("masked", settings)),
        do_train=True,
        initial_masked_lm_prob=0.3,
    )
    with pytest.raises(ValueError, match="make the records with --masking_time=dyn"):
        records_lib.load_records(args)


def test_tokens_are_counted_in_the_files_that_are_used(paths, files, write_records):
    ids = read(input_pipeline.build_eval_dataset(files, 1), count_records(paths))
    ids = restore(ids)
    expected = np.bincount(ids[ids > 4], minlength=files.manifests[0].vocab_size)
    np.testing.assert_array_equal(token_frequencies.read_counts(files), expected)

    # Two groups of weight 3 and 1 share what they hold together.
    groups = (
        record_files.FileGroup(paths[:1], 3.0),
        record_files.FileGroup(paths[1:], 1.0),
    )
    parts = [
        token_frequencies.read_counts(record_files.check_files((group,)))
        for group in groups
    ]
    np.testing.assert_allclose(sum(parts), expected)
    mixed = token_frequencies.read_counts(record_files.check_files(groups))
    np.testing.assert_allclose(
        mixed / expected.sum(),
        0.75 * parts[0] / parts[0].sum() + 0.25 * parts[1] / parts[1].sum(),
    )


def test_softmax_over_the_tokens_seen_needs_their_counts(write_records):
    folder = pathlib.Path(write_records("uncounted", SETTINGS)[0]).parent
    args = settings_lib.PretrainingArgs(
        input_file=f"{folder}/*.tfrecord", do_train=True, output_vocabulary="seen"
    )
    files = records_lib.load_records(args).train
    outputs = warm_start.find_outputs(args, files)
    assert outputs.min() > 4
    assert len(outputs) < files.manifests[0].vocab_size
    (folder / "train.token_counts.npz").unlink()
    with pytest.raises(ValueError, match="no NAME.token_counts.npz beside it counts"):
        warm_start.find_outputs(args, files)
    vocabulary = records_lib.load_records(args).vocabulary
    assert token_frequencies.find_habits(files, vocabulary) is None


def test_habits_explain_an_accuracy_that_needs_no_context(files):
    vocabulary = vocab.load_vocabulary(files.manifests[0].vocab_path)
    habits = token_frequencies.find_habits(files, vocabulary)
    counts = token_frequencies.read_counts(files)
    assert habits.token == vocabulary.tokens[counts.argmax()]
    assert habits.share == counts.max() / counts.sum()
    always = habits.explain(habits.share + 0.005)
    assert f"always answering '{habits.token}' gives" in always
    copying = habits.explain(0.1 + 0.9 * habits.share)
    assert "copying the tokens that masking left unchanged" in copying
    assert habits.explain(0.1 + 0.9 * habits.share + 0.02) == ""


@pytest.fixture(scope="module")
def split_paths(write_records):
    """Record files to train on; those of the documents left out lie beside them."""
    return write_records("split", dataclasses.replace(SETTINGS, eval_fraction=0.3))


def test_evaluation_finds_the_records_that_are_held_out(split_paths):
    args = settings_lib.PretrainingArgs(
        input_file=",".join(split_paths), do_train=True, do_eval=True
    )
    records = records_lib.load_records(args)
    folder = pathlib.Path(split_paths[0]).parent
    assert records.train.paths == split_paths
    assert records.eval.paths == (str(folder / "eval-train.tfrecord"),)
    # Masked once, so that every evaluation measures the same.
    assert records.eval.masker is None
    assert records.train.masker is not None
    # A file that is named, or no evaluation: these are not looked for.
    named = dataclasses.replace(args, eval_input_file=split_paths[0])
    assert records_lib.load_records(named).eval.paths == split_paths[:1]
    alone = dataclasses.replace(args, do_eval=False)
    assert records_lib.load_records(alone).eval.paths == split_paths
    # All of them at once would train on what is held out.
    every = dataclasses.replace(args, input_file=f"{folder}/eval-*.tfrecord")
    with pytest.raises(ValueError, match="records that are held out to evaluate on"):
        records_lib.load_records(every)
    measured = dataclasses.replace(
        args, do_train=False, input_file=f"{folder}/eval-*.tfrecord"
    )
    assert records_lib.load_records(measured).eval.paths == records.eval.paths


def test_lost_records_of_the_held_out_text_are_named(write_records):
    settings = dataclasses.replace(SETTINGS, eval_fraction=0.3)
    paths = write_records("lost", settings)
    (pathlib.Path(paths[0]).parent / "eval-train.tfrecord").unlink()
    args = settings_lib.PretrainingArgs(
        input_file=",".join(paths), do_train=True, do_eval=True
    )
    with pytest.raises(ValueError, match="eval-train.tfrecord', are not there: make"):
        records_lib.load_records(args)
