"""The steps that all commands share, without a whole run; test_run_... has those."""

import types

import pytest
import tensorflow as tf

from bert_cn.finetuning import command
from bert_cn.finetuning import flags as flags_lib
from bert_cn.finetuning.reading import flags as reading_flags
from bert_cn.training import reporting

DEFAULTS = {
    "output_dir": "out",
    "overwrite": False,
    "init_checkpoint": "",
    "bert_config_file": "",
    "vocab_file": "",
    "do_lower_case": None,
    "cache_dir": "",
    "do_train": False,
    "do_eval": False,
    "do_predict": False,
    "precision": "float32",
    "jit_compile": False,
    "tpu": "",
    "max_seq_length": 128,
    "train_batch_size": 32,
    "eval_batch_size": 64,
    "predict_batch_size": 48,
    "learning_rate": 5e-5,
    "num_train_epochs": 3.0,
    "warmup_proportion": 0.1,
    "optimizer": "adamw",
    "weight_decay_rate": 0.01,
    "random_seed": 12345,
}


def make_args(**changes):
    return flags_lib.FinetuningArgs(**(DEFAULTS | changes))


def make_run(output_dir="out", **changes):
    args = make_args(output_dir=str(output_dir), **changes)
    return command.Run(args, tf.distribute.get_strategy(), args.output_dir)


@pytest.fixture
def open_run(monkeypatch):
    """Open a run on some strategy, and end it at once."""

    def run(strategy=None, **changes):
        strategy = strategy or tf.distribute.get_strategy()
        monkeypatch.setattr(
            command.strategy_lib, "build_strategy", lambda tpu: strategy
        )
        with command.open_run(make_args(**changes)):
            pass

    return run


@pytest.mark.parametrize(
    ("changes", "multiple"),
    [({}, 16), ({"jit_compile": True}, 32), ({"tpu": "local"}, 384)],
)
def test_batches_have_few_widths_for_xla_and_one_for_a_tpu(changes, multiple):
    shape = make_run(max_seq_length=384, **changes).shape("train_batch_size")
    assert (shape.batch_size, shape.max_seq_length) == (32, 384)
    assert shape.width_multiple == multiple


def test_windows_have_fewer_widths_for_xla():
    assert reading_flags.ReaderArgs.compiled_multiple == 64


def test_without_a_batch_size_for_dev_that_of_test_is_taken():
    args = make_args(eval_batch_size=None)
    assert args.batch_sizes == {"train_batch_size": 32, "predict_batch_size": 48}
    assert args.eval_batch_flag == "predict_batch_size"
    assert make_args().eval_batch_flag == "eval_batch_size"


def test_splits_are_those_of_what_is_done():
    assert make_args().splits == ()
    assert make_args(do_train=True, do_predict=True).splits == ("train", "test")


def test_batch_that_replicas_cannot_share_is_refused(open_run):
    message = "--eval_batch_size=12 cannot be shared by 8 replicas: make it a multiple"
    with pytest.raises(ValueError, match=message):
        open_run(types.SimpleNamespace(num_replicas_in_sync=8), eval_batch_size=12)


def test_xla_under_a_strategy_is_refused(open_run):
    message = "--jit_compile does not work under a OneDeviceStrategy"
    with pytest.raises(ValueError, match=message):
        open_run(tf.distribute.OneDeviceStrategy("CPU:0"), jit_compile=True)


def test_folder_that_cannot_be_written_is_refused(tmp_path):
    make_run(tmp_path / "new").make_output_dir()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match="--output_dir=.*/file/run: this process cannot"
    ):
        make_run(tmp_path / "file" / "run").make_output_dir()


BOTH = {"eval_f1": 0.5, "test_f1": 0.25, "global_step": 7}


def test_results_of_the_same_model_stay(tmp_path):
    make_run(tmp_path, do_train=True).write_results({"eval_f1": 0.5}, 7)
    make_run(tmp_path, do_predict=True).write_results({"test_f1": 0.25}, 0)
    assert reporting.read_eval_results(str(tmp_path)) == BOTH
    make_run(tmp_path, do_predict=True).write_results({}, 0)
    assert reporting.read_eval_results(str(tmp_path)) == BOTH


def test_results_of_the_same_split_are_replaced_as_a_whole(tmp_path):
    # The first dev file has duplicates, the second has none.
    make_run(tmp_path, do_train=True).write_results({"eval_unseen_f1": 0.5}, 7)
    make_run(tmp_path, do_predict=True).write_results({"test_f1": 0.25}, 0)
    make_run(tmp_path, do_eval=True).write_results({"eval_f1": 0.5}, 0)
    assert reporting.read_eval_results(str(tmp_path)) == BOTH


@pytest.mark.parametrize(
    "changes", [{"do_eval": True, "init_checkpoint": "other"}, {"do_train": True}]
)
def test_results_of_another_model_go(tmp_path, changes):
    make_run(tmp_path, do_train=True).write_results({"test_f1": 0.5}, 7)
    make_run(tmp_path, **changes).write_results({"eval_f1": 0.75}, 3)
    found = reporting.read_eval_results(str(tmp_path))
    assert found == {"eval_f1": 0.75, "global_step": 3}


@pytest.mark.parametrize("name", ["ckpt-5.index", "bert_model.ckpt.index"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_are_refused_before_training(open_run, tmp_path, name, overwrite):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / name).touch()
    (tmp_path / "eval_results.txt").write_text("eval_loss = 1.0\n")
    with pytest.raises(ValueError, match=f"best' holds {name}, which is no part of"):
        open_run(do_train=True, output_dir=str(tmp_path), overwrite=overwrite)
    assert (tmp_path / "eval_results.txt").exists()


def test_model_of_another_command_may_be_overwritten(open_run, tmp_path):
    (tmp_path / "best" / "1_Pooling").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "modules.json"):
        (tmp_path / "best" / name).touch()
    with pytest.raises(ValueError, match="holds the model of an earlier run"):
        open_run(do_train=True, output_dir=str(tmp_path))
    open_run(do_train=True, output_dir=str(tmp_path), overwrite=True)


def test_another_model_is_not_measured_into_a_folder_with_its_own(open_run, tmp_path):
    own = tmp_path / "best"
    own.mkdir()
    for name in ("model.safetensors", "config.json"):
        (own / name).touch()
    measured = {"do_eval": True, "output_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="--init_checkpoint=other would replace"):
        open_run(**measured, init_checkpoint="other")
    for checkpoint in ("", str(own)):
        open_run(**measured, init_checkpoint=checkpoint)


@pytest.mark.parametrize("name", ["train", "eval", "predict"])
def test_batch_that_does_not_fit_is_named(name):
    def fail():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    flag = f"{name}_batch_size"
    with pytest.raises(ValueError, match=f"Out of memory with --{flag}="):
        make_run().explain_memory(flag)(fail)()
