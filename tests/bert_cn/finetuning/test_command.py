"""What the commands share, where a whole run is not needed; the runs have the rest."""

import functools
import types

import pytest
import tensorflow as tf
from absl import flags

from bert_cn.finetuning import command, output_folder
from bert_cn.finetuning import flags as flags_lib
from bert_cn.training import reporting


@pytest.fixture
def build_command(monkeypatch):
    """Build a `Command` whose flags are not this process's."""

    def build(*arguments, **defaults):
        values = flags.FlagValues()
        own = {
            name: functools.partial(getattr(flags, name), flag_values=values)
            for name in dir(flags)
            if name.startswith("DEFINE_")
        }
        monkeypatch.setattr(flags_lib, "flags", types.SimpleNamespace(**own))
        made = command.Command(flags_lib.Defaults("Longer ones are cut.", **defaults))
        values(["command", *arguments])
        return made

    return build


@pytest.mark.parametrize(
    ("arguments", "multiple"),
    [((), 16), (("--jit_compile",), 64), (("--tpu=local",), 384)],
)
def test_batches_have_few_widths_for_xla_and_one_for_a_tpu(
    build_command, arguments, multiple
):
    made = build_command(*arguments, max_seq_length=384, compiled_multiple=64)
    shape = made.shape(made.train_batch_size)
    assert (shape.batch_size, shape.max_seq_length) == (32, 384)
    assert shape.width_multiple == multiple


@pytest.mark.parametrize(
    ("arguments", "strategy", "message"),
    [
        (
            ("--eval_batch_size=12",),
            types.SimpleNamespace(num_replicas_in_sync=8),
            "--eval_batch_size=12 cannot be shared by 8 replicas: make it a multiple",
        ),
        (
            ("--jit_compile",),
            tf.distribute.OneDeviceStrategy("CPU:0"),
            "--jit_compile does not work under a OneDeviceStrategy",
        ),
    ],
)
def test_flags_that_do_not_suit_the_devices_are_refused(
    build_command, monkeypatch, arguments, strategy, message
):
    made = build_command("--output_dir=out", *arguments)
    monkeypatch.setattr(command.strategy_lib, "build_strategy", lambda tpu: strategy)
    with pytest.raises(ValueError, match=message):
        made.run(lambda strategy, output_dir: pytest.fail("it ran"))


def test_folder_that_cannot_be_written_is_refused_before_training(
    build_command, tmp_path
):
    made = build_command()
    made.make_output_dir(f"{tmp_path}/new")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(
        ValueError, match="--output_dir=.*/file/run: this process cannot"
    ):
        made.make_output_dir(f"{tmp_path}/file/run")


def test_results_of_the_same_model_stay(build_command, tmp_path):
    folder = str(tmp_path)
    build_command("--do_train").write_results(folder, {"eval_f1": 0.5}, 7)
    build_command("--do_predict").write_results(folder, {"test_f1": 0.25}, 0)
    both = {"eval_f1": 0.5, "test_f1": 0.25, "global_step": 7}
    assert reporting.read_eval_results(folder) == both
    build_command("--do_predict").write_results(folder, {}, 0)
    assert reporting.read_eval_results(folder) == both
    reporting.remove_eval_results(folder)
    assert reporting.read_eval_results(folder) == {}
    # Of another dev file, which has no duplicates; what was predicted stays.
    build_command("--do_train").write_results(folder, {"eval_unseen_f1": 0.5}, 7)
    build_command("--do_predict").write_results(folder, {"test_f1": 0.25}, 0)
    build_command("--do_eval").write_results(folder, {"eval_f1": 0.5}, 0)
    assert reporting.read_eval_results(folder) == both
    # Another model, and another training.
    for arguments in (("--do_eval", "--init_checkpoint=other"), ("--do_train",)):
        build_command(*arguments).write_results(folder, {"eval_f1": 0.75}, 3)
        found = reporting.read_eval_results(folder)
        assert found == {"eval_f1": 0.75, "global_step": 3}


def run_with(build_command, monkeypatch, *arguments):
    strategy = tf.distribute.get_strategy()
    monkeypatch.setattr(command.strategy_lib, "build_strategy", lambda tpu: strategy)
    build_command(*arguments).run(lambda strategy, output_dir: None)


@pytest.mark.parametrize("name", ["ckpt-5.index", "bert_model.ckpt.index"])
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_foreign_files_are_refused_before_training(
    build_command, monkeypatch, tmp_path, name, overwrite
):
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / name).touch()
    (tmp_path / "eval_results.txt").write_text("eval_loss = 1.0\n")
    flags_given = ("--do_train", f"--output_dir={tmp_path}", *overwrite)
    with pytest.raises(ValueError, match=f"best' holds {name}, which is no part of"):
        run_with(build_command, monkeypatch, *flags_given)
    assert (tmp_path / "eval_results.txt").exists()


def test_model_of_another_command_may_be_overwritten(
    build_command, monkeypatch, tmp_path
):
    (tmp_path / "best" / "1_Pooling").mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "modules.json"):
        (tmp_path / "best" / name).touch()
    flags_given = ("--do_train", f"--output_dir={tmp_path}")
    with pytest.raises(ValueError, match="holds the model of an earlier run"):
        run_with(build_command, monkeypatch, *flags_given)
    run_with(build_command, monkeypatch, *flags_given, "--overwrite")


def test_another_model_is_not_measured_into_a_folder_with_its_own(
    build_command, monkeypatch, tmp_path
):
    own = tmp_path / "best"
    own.mkdir()
    for name in ("model.safetensors", "config.json"):
        (own / name).touch()
    flags_given = ("--do_eval", f"--output_dir={tmp_path}")
    with pytest.raises(ValueError, match="--init_checkpoint=other would replace"):
        run_with(build_command, monkeypatch, *flags_given, "--init_checkpoint=other")
    for checkpoint in ("", own):
        run_with(
            build_command,
            monkeypatch,
            *(*flags_given, f"--init_checkpoint={checkpoint}"),
        )


def test_results_of_a_replaced_model_are_removed(tmp_path):
    gone = (
        *("eval_results.txt", "test_results.tsv", "test_2_results.tsv"),
        *("predictions.json", "nbest_predictions.json", "null_odds.json"),
    )
    for name in (*gone, "answers.tsv", "notes.txt"):
        (tmp_path / name).touch()
    output_folder.remove_results(str(tmp_path))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["answers.tsv", "notes.txt"]


@pytest.mark.parametrize("name", ["train", "eval", "predict"])
def test_batch_that_does_not_fit_is_named(build_command, name):
    made = build_command()
    size = getattr(made, f"{name}_batch_size")

    def fail():
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    with pytest.raises(ValueError, match=f"Out of memory with --{name}_batch_size="):
        made.explain_memory(size)(fail)()
