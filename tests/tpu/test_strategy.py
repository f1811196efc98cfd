import pytest
import tensorflow as tf

from tpu import strategy


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert strategy.build_strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize("tpu", ["grpc://127.0.0.1:1", "local"])
def test_missing_tpu_is_an_error_not_a_cpu_run(tpu):
    with pytest.raises(ValueError, match=f"--tpu={tpu}: no TPU could be reached"):
        strategy.build_strategy(tpu)
