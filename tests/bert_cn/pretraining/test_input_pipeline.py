import numpy as np
import pytest
import tensorflow as tf

from bert_cn.pretraining import input_pipeline
from bert_cn.pretraining import record_files as record_files_lib
from data_prep.records import schema
from tests.bert_cn.records import LENGTH, PREDICTIONS, make_record, write_records


def numbers_of(dataset, batches: int) -> list[list[int]]:
    """Which records stand in each batch: their numbers are their next-to-last ids."""
    return [
        batch[schema.INPUT_IDS].numpy()[:, -2].tolist()
        for batch in dataset.take(batches)
    ]


def test_one_epoch_holds_every_record_once(files):
    dataset = input_pipeline.build_train_dataset(files, batch_size=10, seed=1)
    batches = numbers_of(dataset, 8)
    assert sorted(sum(batches[:4], [])) == list(range(40))
    assert sorted(sum(batches[4:], [])) == list(range(40))
    assert batches[:4] != batches[4:]


def test_order_depends_on_the_seed_alone(files):
    first, again, other = (
        numbers_of(input_pipeline.build_train_dataset(files, 10, seed), 4)
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("global_seed", [0, 7])
def test_order_does_not_depend_on_the_global_seed(files, global_seed):
    orders = []
    for seed in (1, global_seed):
        tf.random.set_seed(seed)
        dataset = input_pipeline.build_train_dataset(files, 10, seed=3)
        orders.append(numbers_of(dataset, 4))
    assert orders[0] == orders[1]


def test_skipping_records_continues_where_the_other_run_stopped(files):
    whole = numbers_of(input_pipeline.build_train_dataset(files, 10, 1), 10)
    rest = input_pipeline.build_train_dataset(files, 10, 1, skip_records=70)
    assert numbers_of(rest, 3) == whole[7:]


def test_groups_are_drawn_from_by_weight_and_skipped_alike(record_files):
    patterns = f"{record_files[0]}:3,{record_files[1]}"
    groups = record_files_lib.find_files(patterns, "--input_file")
    assert [group.weight for group in groups] == [3.0, 1.0]
    files = record_files_lib.check_files(groups, LENGTH, PREDICTIONS)
    batches = numbers_of(input_pipeline.build_train_dataset(files, 10, 1), 80)
    share = np.mean(np.concatenate(batches) < 20)
    assert share == pytest.approx(0.75, abs=0.05)
    rest = input_pipeline.build_train_dataset(files, 10, 1, skip_records=770)
    assert numbers_of(rest, 3) == batches[77:]


@pytest.mark.parametrize("num_hosts", [2, 4])
def test_hosts_share_the_records_without_overlap(files, num_hosts):
    seen = [
        sum(
            numbers_of(
                input_pipeline.build_train_dataset(
                    files, 5, 1, host=host, num_hosts=num_hosts
                ),
                40 // num_hosts // 5,
            ),
            [],
        )
        for host in range(num_hosts)
    ]
    assert sorted(sum(seen, [])) == list(range(40))


def test_features_have_documented_dtypes_and_shapes(files):
    batch = next(iter(input_pipeline.build_train_dataset(files, 4, 1)))
    shapes = schema.feature_shapes(LENGTH, PREDICTIONS)
    for name in schema.FEATURES:
        assert batch[name].shape == (4, *shapes[name])
        floating = name in schema.FLOAT_FEATURES
        assert batch[name].dtype == (tf.float32 if floating else tf.int32)


def test_last_evaluation_batch_is_filled_with_zeros(files):
    batches = list(input_pipeline.build_eval_dataset(files, batch_size=16))
    assert [batch[schema.INPUT_IDS].shape[0] for batch in batches] == [16, 16, 16]
    assert int(tf.reduce_sum(batches[2][schema.INPUT_MASK][8:])) == 0
    assert float(tf.reduce_sum(batches[2][schema.MASKED_LM_WEIGHTS][8:])) == 0.0


def test_model_garden_spelling_is_recognised(check_files, tmp_path):
    record = make_record(np.random.default_rng(0), 7)
    write_records(tmp_path / "v2.tfrecord", [record], feature_names="v2")
    files = check_files([tmp_path / "v2.tfrecord"])
    batch = next(iter(input_pipeline.build_eval_dataset(files, 1)))
    np.testing.assert_array_equal(
        batch[schema.INPUT_IDS][0], record[schema.INPUT_IDS].astype(np.int32)
    )


@pytest.mark.parametrize("weights", ["", ":2"])
def test_records_of_a_step_are_those_that_it_trained_on(record_files, weights):
    groups = record_files_lib.find_files(
        ",".join(path + weights for path in record_files), "--input_file"
    )
    files = record_files_lib.check_files(groups, LENGTH, PREDICTIONS)
    batches = input_pipeline.TrainInput(tf.distribute.get_strategy(), files, 8, seed=5)
    for step, batch in enumerate(batches.distribute(2).take(5), 3):
        # The next-to-last id is the record's number, 20 records to a file.
        numbers = sorted(batch[schema.INPUT_IDS].numpy()[:, -2].tolist())
        expected = [(record_files[n // 20], n % 20 + 1) for n in numbers]
        assert batches.locate(step) == expected


def test_records_of_all_hosts_are_found(files, record_files):
    found = []
    for host in range(2):
        dataset = input_pipeline.build_train_dataset(files, 4, 5, 4 * 2, host, 2)
        numbers = next(iter(dataset))[schema.INPUT_IDS].numpy()[:, -2].tolist()
        found += [(record_files[n // 20], n % 20 + 1) for n in numbers]
    batches = input_pipeline.TrainInput(tf.distribute.get_strategy(), files, 8, seed=5)
    batches._num_hosts = 2
    assert batches.locate(3) == sorted(found)


def test_masked_tokens_are_counted_by_their_share_of_the_records(files):
    once = input_pipeline.build_train_dataset(files, 40, seed=1).take(1)
    (batch,) = once.as_numpy_iterator()
    masked = batch[schema.MASKED_LM_IDS][batch[schema.MASKED_LM_WEIGHTS] > 0]
    expected = np.bincount(masked, minlength=100) / masked.size

    counts = input_pipeline.count_masked_tokens(files, vocab_size=100, seed=1)

    assert counts.sum() >= 32_768
    np.testing.assert_allclose(counts / counts.sum(), expected, atol=2e-3)
