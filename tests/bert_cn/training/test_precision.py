import time
import types

import pytest
import tensorflow as tf

from bert_cn.training import precision


@pytest.fixture
def cpu(monkeypatch):
    """A CPU that takes `ratio` times as long for a product in bfloat16."""
    processor = types.SimpleNamespace(ratio=1.0)
    monkeypatch.setattr(precision, "_compare_products", lambda jit: processor.ratio)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return processor


@pytest.mark.parametrize(
    ("bfloat16", "expected"),
    [(0.5, "mixed_bfloat16"), (0.95, "float32"), (2.0, "float32")],
)
def test_cpu_takes_the_faster_product(cpu, capsys, bfloat16, expected):
    cpu.ratio = bfloat16
    assert precision.choose_precision("auto") == expected
    assert f"--precision=auto: {expected} (products" in capsys.readouterr().out


@pytest.mark.parametrize("chosen", ["float32", "mixed_bfloat16"])
def test_named_precision_is_kept_without_a_measurement(cpu, capsys, chosen):
    assert precision.choose_precision(chosen, tpu="local") == chosen
    assert not capsys.readouterr().out


def test_resumed_run_keeps_its_precision(cpu):
    cpu.ratio = 0.5
    assert precision.choose_precision("auto", begun_with="float32") == "float32"


def test_tpu_computes_in_bfloat16(cpu):
    assert precision.choose_precision("auto", tpu="local") == "mixed_bfloat16"


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "mixed_bfloat16"), ((7, 5), "float32")]
)
def test_oldest_gpu_decides(monkeypatch, capability, expected):
    gpus = {"new": (9, 0), "other": capability}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus))
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": gpus[gpu]},
    )
    assert precision.choose_precision("auto") == expected


def test_several_hosts_on_cpus_do_not_measure(cpu, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert precision.choose_precision("auto") == "float32"


@pytest.mark.parametrize("jit_compile", [False, True])
def test_slower_product_is_found(monkeypatch, jit_compile):
    build = precision._build_product

    def build_slow(dtype, jit_compile):
        multiply = build(dtype, jit_compile)
        pause = 0.05 if dtype == tf.bfloat16 else 0.0
        return lambda: (time.sleep(pause), multiply())[1]

    monkeypatch.setattr(precision, "_build_product", build_slow)
    monkeypatch.setattr(precision, "_MOST_TURNS", 6)
    assert precision._compare_products(jit_compile) > 1
