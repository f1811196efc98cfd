import importlib.util
import json
import math

import pytest

from bert_cn.conversion import weight_map
from bert_cn.model import config as config_lib
from tpu.compiler import (
    batch_search,
    compile_worker,
    preflight_report,
    slices,
    tpu_compiler,
)

_TINY = "--flagfile=configs/pretrain/bert_tiny_cn.flags"
_BATCH = 64  # Sequences of a replica.


@pytest.fixture(scope="module")
def compiler():
    if not importlib.util.find_spec("libtpu") or not importlib.util.find_spec("jax"):
        pytest.skip("needs the TPU compiler: pip install 'bert_cn[preflight]'")


def _program(temporaries=0, **changes):
    return tpu_compiler.Program(
        **{
            "arguments": 1_000_000_000,
            "outputs": 900_000_000,
            "aliases": 900_000_000,
            "temporaries": temporaries,
            "program": 100_000_000,
            "flops": 61.5e12,
            "bytes_accessed": 225e9,
            "reduced_bytes": 82_000_000_000,
            "compile_seconds": 42.0,
        }
        | changes
    )


@pytest.fixture(scope="module")
def run_preflight(compiler, run_command, tmp_path_factory):
    """Runs preflight on a model whose activations outweigh its vocabulary."""
    config = config_lib.BertConfig(
        vocab_size=1024,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=512,
    )
    config_file = tmp_path_factory.mktemp("model") / "config.json"
    config_file.write_text(config.to_json())

    def run(*flags: str) -> dict:
        done = run_command(
            *("tpu.preflight", "--topology=v3-8", "--json"),
            *(f"--bert_config_file={config_file}", f"--train_batch_size={8 * _BATCH}"),
            *("--precision=mixed_bfloat16", "--num_train_steps=100000", *flags),
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    num_weights = sum(
        math.prod(weight.shape) for weight in weight_map.list_weights(config)
    )
    return run, num_weights


@pytest.fixture(scope="module")
def found(run_preflight):
    run, _ = run_preflight
    return run()


@pytest.mark.slow
def test_preflight_gives_memory_and_bounds(run_preflight, found):
    _, num_weights = run_preflight
    assert (found["fits"], found["replicas"]) == (True, 8)
    assert found["per_replica_batch"] == _BATCH
    program = found["program"]
    # Weights and two moments in float32, beside the batch and tiles that are not full.
    state = 3 * 4 * num_weights
    assert state <= program["arguments"] < 1.05 * state
    # All of it is updated in place.
    assert program["aliases"] == pytest.approx(program["outputs"], rel=1e-3)
    # Every gradient is summed once, in float32.
    gradients = 4 * num_weights
    assert gradients <= program["reduced_bytes"] < 1.01 * gradients
    # Six operations for each weight of the layers and each token.
    assert program["flops"] > 6 * 3 * 12 * 128**2 * _BATCH * 128
    bound = found["bound_seconds"]
    assert bound["step"] == pytest.approx(
        max(bound["compute"], bound["memory"]) + bound["all_reduce"]
    )
    assert found["hours"]["0.5"] == pytest.approx(2 * 100_000 * bound["step"] / 3600)


@pytest.mark.slow
def test_recomputed_layers_take_less_memory_and_more_work(run_preflight, found):
    run, _ = run_preflight
    kept, recomputed = found["program"], run("--recompute_layers")["program"]
    assert recomputed["temporaries"] < 0.7 * kept["temporaries"]
    # The products of all layers once more, for each token.
    again = 2 * 3 * 12 * 128**2 * _BATCH * 128
    assert recomputed["flops"] - kept["flops"] > 0.8 * again


@pytest.mark.slow
def test_preflight_refuses_a_batch_that_does_not_fit(compiler, run_command):
    done = run_command(
        "tpu.preflight", "--topology=v2-8", _TINY, "--train_batch_size=65536"
    )
    assert done.returncode == 3, done.stderr
    assert "DOES NOT FIT: the compiler needs " in done.stdout
    assert "and may use 7.48G" in done.stdout
    assert "Traceback" not in done.stderr


def test_preflight_refuses_flags_that_do_not_match(compiler, assert_refused):
    assert_refused(
        *("tpu.preflight", "--topology=v3-8", _TINY, "--train_batch_size=60"),
        saying=(
            "--train_batch_size=60 cannot be shared by the 8 replicas of v3-8: make it "
            "a multiple of 8.",
        ),
    )
    assert_refused(
        *("tpu.preflight", "--topology=v3-8", _TINY, "--max_seq_length=1024"),
        saying=("--max_seq_length=1024 is over the model's max_position_embeddings=",),
    )


@pytest.mark.parametrize(
    ("first", "per_row", "multiple", "largest"),
    [
        # 16,000 MB, of which 1,100 are fixed.
        (8, 100e6, 1, 144),
        (512, 100e6, 1, 144),
        (32, 100e6, 4, 128),
        (8, 2_000e6, 1, 4),
        (8, 20_000e6, 1, 0),
    ],
)
def test_find_largest_batch_in_few_compilations(first, per_row, multiple, largest):
    tried = []

    def compile_batch(batch):
        tried.append(batch)
        if 1_100e6 + batch * per_row > 16_000e6:
            raise tpu_compiler.OutOfMemory("17.00G", "16.00G")
        # Part of what a program holds at any batch counts as temporaries, too.
        return _program(int(500e6 + batch * per_row), arguments=500_000_000)

    batch, program = batch_search.find_largest_batch(
        compile_batch, first, 16_000e6, multiple
    )
    assert batch == largest
    if largest:
        assert program.temporaries == 500e6 + largest * per_row
    assert len(tried) == len(set(tried)) <= 5


def test_find_largest_batch_goes_on_where_the_compiler_saves_memory():
    tried = []

    def compile_batch(batch):
        tried.append(batch)
        if batch > 672:
            raise tpu_compiler.OutOfMemory("17.00G", "16.00G")
        # From 440 on it computes again what does not fit.
        return _program(min(1_000_000_000 + batch * 34_000_000, 15_999_999_999))

    batch, _ = batch_search.find_largest_batch(compile_batch, 128, 16e9)
    assert batch == 672
    assert len(tried) == len(set(tried)) <= 14


def test_compile_module_names_memory_where_the_compiler_is_killed(tmp_path):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    with pytest.raises(ValueError, match="process was killed, as Linux does"):
        tpu_compiler.compile_module(b"", slices.parse_slice("v3-8"), python=killed)


def test_report_gives_hours_and_shares():
    where = slices.parse_slice("v3-8")
    report = preflight_report.Report(where, "base", 32, 3_600, _program())
    # 61.5 TFLOP at 61.5 TFLOP/s, and 82 GB over two links of 82 GB/s, 2 * 3/4 times.
    assert report.bound.step == pytest.approx(1.75)
    text = "\n".join(report.to_lines())
    assert "v3-8: 8 replicas on 4 chips (2x2), 16.6 GB each" in text
    assert "FITS: 1.10 of 16.6 GB" in text
    assert "At least 1750.0 ms a step" in text
    assert "all-reduce 750.0 (43%; 82.00 GB a replica in the compiled program" in text
    assert "hours for 3,600 steps: 1.8 at 100%, 3.5 at 50%, 5.0 at 35%" in text
    assert report.to_json()["hours"]["0.35"] == pytest.approx(5.0)


def test_report_of_what_does_not_fit_says_what_to_do():
    report = preflight_report.Report(
        slices.parse_slice("v3-8"),
        *("giant", 64, 10),
        refusal=tpu_compiler.OutOfMemory("18.92G", "15.48G"),
        largest_batch=8,
        largest_program=_program(),
    )
    text = "\n".join(report.to_lines())
    assert "DOES NOT FIT: the compiler needs 18.92G and may use 15.48G" in text
    assert "raise --gradient_accumulation_steps" in text
    # 1.75 s a step, as above.
    assert (
        "Largest batch that fits: 8 a replica, 64 an update; 1.10 GB, at least 1750.0 "
        "ms, at most 37 sequences/s" in text
    )
    found = report.to_json()
    assert (found["fits"], found["largest"]["fits"]) == (False, True)
    assert found["largest"]["per_replica_batch"] == 8
    assert found["largest"]["bound_seconds"]["step"] == pytest.approx(1.75)


def test_out_of_memory_is_read_from_the_compilers_message():
    error = tpu_compiler._describe_error(
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the "
        "total memory required for HLO temporaries (8.25G) exceeds available HBM "
        "(7.48G). HLO module: step."
    )
    assert isinstance(error, tpu_compiler.OutOfMemory)
    assert (error.used, error.capacity) == ("8.25G", "7.48G")
    error = tpu_compiler._describe_error(
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.25G of "
        "15.48G hbm. Exceeded hbm capacity by 1.77G."
    )
    assert isinstance(error, tpu_compiler.OutOfMemory)
    assert (error.used, error.capacity) == ("17.25G", "15.48G")
    other = tpu_compiler._describe_error("UNIMPLEMENTED: f64")
    assert not isinstance(other, tpu_compiler.OutOfMemory)


def test_micro_batches_add_their_costs_and_not_their_memory():
    part = _program(10, flops=2.0, bytes_accessed=3.0, compile_seconds=8.0)
    whole = _program(70, flops=5.0, bytes_accessed=7.0, reduced_bytes=11)
    found = tpu_compiler.add_micro_batches(whole, part, 4)
    assert (found.flops, found.bytes_accessed) == (5.0 + 3 * 2.0, 7.0 + 3 * 3.0)
    assert (found.memory, found.reduced_bytes) == (whole.memory, 11)
    assert found.compile_seconds == 50.0


def test_check_memory_counts_arguments_beside_temporaries():
    # 1.1 GB in all but temporaries.
    tpu_compiler.check_memory(_program(15 * 2**30), 16.1 * 2**30)
    with pytest.raises(tpu_compiler.OutOfMemory, match=r"needs 16\.02G of 15\.48G"):
        tpu_compiler.check_memory(_program(15 * 2**30), 15.48 * 2**30)


def test_count_reduced_bytes_of_a_program():
    program = """
      %all-reduce = f32[2]{0:T(256)} all-reduce(%pad), to_apply=%sum
      %all-reduce.1 = (f32[3,4]{1,0}, bf16[5]{0}) all-reduce(%a, %b), to_apply=%sum
      %fusion = f32[100]{0} fusion(%all-reduce), kind=kLoop
    """
    assert compile_worker.count_reduced_bytes(program) == 4 * 2 + 4 * 12 + 2 * 5


def test_check_installed_names_what_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"jax and libtpu missing\): run pip install"):
        tpu_compiler.check_installed()
