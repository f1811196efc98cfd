import types

import pytest

from bert_cn.pretraining import records
from bert_cn.pretraining import settings as settings_lib


def test_defaults_are_those_of_the_value(parse_recipe):
    assert parse_recipe() == settings_lib.PretrainingArgs()


def test_older_name_of_the_evaluation_interval_is_read(parse_recipe):
    assert parse_recipe("--eval_steps=7").eval_every_steps == 7


def test_only_batch_sizes_in_use_are_named():
    args = settings_lib.PretrainingArgs(
        train_batch_size=16, eval_batch_size=8, do_train=True
    )
    assert args.batch_sizes == {"train_batch_size": 16}
    args = settings_lib.PretrainingArgs(eval_batch_size=8, do_eval=True)
    assert args.batch_sizes == {"eval_batch_size": 8}


@pytest.mark.parametrize(("epochs", "steps"), [(0.0, 100_000), (1.0, 22), (2.5, 54)])
def test_epochs_become_steps(epochs, steps):
    args = settings_lib.PretrainingArgs(num_train_epochs=epochs, train_batch_size=32)
    files = types.SimpleNamespace(count_records=lambda: 687)
    assert records._count_steps(args, files).num_train_steps == steps


REFUSED = {
    "nothing to do": ({"output_dir": "out"}, "Nothing to do: pass --do_train, --do_ev"),
    "no folder": ({"do_train": True}, "--output_dir is empty: name a folder"),
    "bracket in the folder": (
        {"do_eval": True, "output_dir": "out/run[1]"},
        r"--output_dir=out/run.1. has a \[ in it.* name a folder without",
    ),
    "backslash in the folder": (
        {"do_eval": True, "output_dir": "out\\run"},
        "--output_dir=out.run has a .* in it.* name a folder without",
    ),
    "two lengths": (
        {
            "do_train": True,
            "output_dir": "o",
            "num_train_epochs": 1.0,
            "train_minutes": 1.0,
        },
        "--num_train_epochs and --train_minutes both say how long to train",
    ),
    "Muon without a rate": (
        {"do_train": True, "output_dir": "out", "optimizer": "muon"},
        "--optimizer=muon and --muon_learning_rate=0 do not go together",
    ),
    "Muon without a schedule": (
        {
            "do_train": True,
            "output_dir": "out",
            "optimizer": "muon",
            "muon_learning_rate": 0.01,
            "learning_rate": 0.0,
        },
        "--learning_rate=0 is no schedule for --optimizer=muon",
    ),
    "a rate without Muon": (
        {"do_train": True, "output_dir": "out", "muon_learning_rate": 0.01},
        "--optimizer=bert_adamw and --muon_learning_rate=0.01 do not go together",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_run_that_cannot_work_is_refused(name):
    settings, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        settings_lib.check_run(settings_lib.PretrainingArgs(**settings))


def test_other_wildcards_are_no_hindrance():
    settings_lib.check_run(
        settings_lib.PretrainingArgs(do_eval=True, output_dir="out/*run?]")
    )


def test_shape_of_records_without_a_manifest_is_googles():
    filled = settings_lib.fill_in_shape(
        settings_lib.PretrainingArgs(max_seq_length=512)
    )
    assert (filled.max_seq_length, filled.max_predictions_per_seq) == (512, 20)
