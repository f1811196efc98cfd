import pytest
import tensorflow as tf

from bert_cn.pretraining import failure_report, train_loop


def explain(tmp_path, error: Exception):
    with failure_report.explain(32, 128, lambda step: RECORDS[:step], str(tmp_path)):
        raise error


RECORDS = [("data/a.tfrecord", number) for number in (3, 7)]
RECORDS += [("data/b.tfrecord", number) for number in (1, 2, 9)]


def test_records_of_a_bad_batch_are_named_and_listed(tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        explain(tmp_path, train_loop.NotFiniteError(5, "run/ckpt-4"))
    listed = tmp_path / "records_of_step_5.txt"
    assert str(caught.value) == (
        "The loss or its gradient is not finite in step 5; the last good checkpoint is "
        "run/ckpt-4. Lower --learning_rate or raise --num_warmup_steps, then run the "
        "command again with another --output_dir. --init_checkpoint=run/ckpt-4 starts "
        "from those weights. The records of that batch "
        "(a.tfrecord 3, a.tfrecord 7, b.tfrecord 1, b.tfrecord 2, ...) "
        f"are listed in {listed}; python -m data_prep.inspect_records --first_record=3 "
        "--num_records=1 data/a.tfrecord shows the first of them."
    )
    lines = [f"{path}\t{number}" for path, number in RECORDS]
    assert listed.read_text().splitlines() == lines


def test_out_of_memory_names_the_batch_and_what_to_try(tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    with pytest.raises(ValueError, match="--train_batch_size=32 and --max_seq_length="):
        explain(tmp_path, error)


def test_out_of_memory_while_evaluating_names_its_own_batch(tmp_path):
    @failure_report.explain_memory(64, 128, "lower it.", "eval_batch_size")
    def evaluate():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    with pytest.raises(ValueError, match="Out of memory with ") as caught:
        with failure_report.explain(32, 128, lambda step: RECORDS, str(tmp_path)):
            evaluate()
    assert str(caught.value) == (
        "Out of memory with --eval_batch_size=64 and --max_seq_length=128: lower it."
    )


def test_full_disk_is_not_taken_for_full_memory(tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")
    with pytest.raises(tf.errors.ResourceExhaustedError, match="No space left"):
        explain(tmp_path, error)
