import pytest
import tensorflow as tf

from bert_cn.pretraining import input_pipeline, train_input
from data_prep.records import schema
from tests.bert_cn.records import LENGTH, PREDICTIONS


@pytest.mark.parametrize("weights", ["", ":2"])
def test_records_of_a_step_are_those_that_it_trained_on(record_files, weights):
    groups = input_pipeline.find_files(
        ",".join(path + weights for path in record_files), "--input_file"
    )
    files = input_pipeline.check_files(groups, LENGTH, PREDICTIONS)
    batches = train_input.TrainInput(tf.distribute.get_strategy(), files, 8, seed=5)
    for step, batch in enumerate(batches.distribute(2).take(5), 3):
        # The next-to-last id is the record's number, 20 records to a file.
        numbers = sorted(batch[schema.INPUT_IDS].numpy()[:, -2].tolist())
        expected = [(record_files[n // 20], n % 20 + 1) for n in numbers]
        assert batches.locate(step) == expected


def test_records_of_all_hosts_are_found(record_files):
    groups = (input_pipeline.FileGroup(tuple(record_files)),)
    files = input_pipeline.check_files(groups, LENGTH, PREDICTIONS)
    found = []
    for host in range(2):
        dataset = input_pipeline.build_train_dataset(files, 4, 5, 4 * 2, host, 2)
        numbers = next(iter(dataset))[schema.INPUT_IDS].numpy()[:, -2].tolist()
        found += [(record_files[n // 20], n % 20 + 1) for n in numbers]
    batches = train_input.TrainInput(tf.distribute.get_strategy(), files, 8, seed=5)
    batches._num_hosts = 2
    assert batches.locate(3) == sorted(found)
