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
