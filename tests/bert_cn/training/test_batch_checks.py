import pytest
import tensorflow as tf

from bert_cn.training import batch_checks


def test_batches_that_replicas_cannot_share_are_refused():
    sizes = {"train_batch_size": 12, "eval_batch_size": 6}
    batch_checks.check_batch_sizes(sizes, 2, 3)
    with pytest.raises(ValueError, match="--eval_batch_size=6 .* multiple of 4"):
        batch_checks.check_batch_sizes(sizes, 4, 1)
    with pytest.raises(ValueError, match="--train_batch_size=12 .* multiple of 8"):
        batch_checks.check_batch_sizes(sizes, 2, 4)
    # Only the flags that are used are checked.
    batch_checks.check_batch_sizes({"eval_batch_size": 8}, 4, 3)


def test_xla_is_refused_under_a_strategy():
    default = tf.distribute.get_strategy()
    batch_checks.check_jit_compile(True, default)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    batch_checks.check_jit_compile(False, strategy)
    with pytest.raises(ValueError, match="--jit_compile .* OneDeviceStrategy"):
        batch_checks.check_jit_compile(True, strategy)


def fail(message: str, flag: str = "train_batch_size"):
    with batch_checks.explain_memory(flag, 32, 128, "lower it."):
        raise tf.errors.ResourceExhaustedError(None, None, message)


def test_out_of_memory_names_the_batch_and_the_remedy():
    with pytest.raises(ValueError, match="Out of memory with ") as caught:
        fail("OOM when allocating", "eval_batch_size")
    assert str(caught.value) == (
        "Out of memory with --eval_batch_size=32 and --max_seq_length=128: lower it."
    )


def test_full_disk_is_not_taken_for_full_memory():
    with pytest.raises(tf.errors.ResourceExhaustedError, match="No space left"):
        fail("x; No space left on device")
