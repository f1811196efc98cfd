"""Runs: what is run, what is kept, what is told."""

import sys

import pytest

from bert_cn.suite import model, recipes, results, runs, tasks

VALUES = {
    "eval_accuracy": 0.75,
    "eval_f1": 0.875,
    "eval_loss": 0.5,
    "global_step": 7,
}


@pytest.fixture
def plan(data_dir, row, tmp_path):
    def make(name="mrpc", suite="glue", num_seeds=1, rows=(row,), more=()):
        found, _ = tasks.find_tasks(tasks.choose_tasks([suite], [name]), str(data_dir))
        recipe = recipes.load_recipe("reference", more)
        return runs.plan_runs(rows, found, recipe, num_seeds, str(tmp_path / "out"))

    return make


def test_commands_have_the_recipe_the_seed_and_the_case(plan, data_dir, tmp_path):
    run = plan()[0]
    assert run.command == [
        *(sys.executable, "-m", "bert_cn.run_classifier", "--init_checkpoint=out/tiny"),
        *("--task_name=mrpc", f"--data_dir={data_dir}/glue/MRPC"),
        *("--max_seq_length=128", "--train_batch_size=4", "--learning_rate=2e-5"),
        # English, and the vocabulary has no capitals.
        *("--num_train_epochs=1", "--do_lower_case=True", "--random_seed=12345"),
        *("--do_train", "--do_eval", "--overwrite"),
        f"--cache_dir={tmp_path}/out/cache",
        f"--output_dir={tmp_path}/out/tiny/mrpc/seed_12345",
    ]


def test_chinese_commands_keep_case_and_predict_if_there_is_a_test_file(plan, data_dir):
    command = plan("chnsenticorp", "clue")[0].command
    assert {"--do_lower_case=False", "--do_predict"} <= set(command)
    (data_dir / "chnsenticorp" / "test.tsv").unlink()
    assert "--do_predict" not in plan("chnsenticorp", "clue")[0].command


def test_reading_commands_name_their_files_and_flags(plan, data_dir):
    assert {
        "bert_cn.run_squad",
        "--version_2_with_negative",
        f"--train_file={data_dir}/squad/train-v2.0.json",
        f"--dev_file={data_dir}/squad/dev-v2.0.json",
        "--doc_stride=128",
        "--train_batch_size=12",
    } <= set(plan("squad2.0", "squad")[0].command)


def test_a_random_twin_starts_from_sizes_and_vocabulary(plan, row, tmp_path):
    twin = model.build_random_row("tiny", row.model, str(tmp_path / "out"))
    results.write_row(str(tmp_path / "out"), twin, "out/tiny")
    folder = tmp_path / "out" / "tiny-random"
    assert (folder / "bert_config.json").read_text() == "{}\n"
    assert (folder / "vocab.txt").read_bytes() == b"[PAD]\n"
    command = plan(rows=(twin,))[0].command
    assert f"--bert_config_file={folder}/bert_config.json" in command
    assert f"--vocab_file={folder}/vocab.txt" in command
    assert not any("init_checkpoint" in each for each in command)


def test_finished_runs_are_kept_in_percent_and_not_run_again(
    plan, make_runner, capsys, seeds
):
    commands = []
    runner = make_runner(VALUES, commands)
    todo = runs.leave_out_finished(plan(num_seeds=2), overwrite=False)
    assert [run.seed for run in todo] == seeds == [12345, 12346]

    assert runs.run_all(todo[:1], runner) == []
    left = runs.leave_out_finished(plan(num_seeds=2), overwrite=False)

    assert [run.seed for run in left] == [12346]
    result = results.read_result(todo[0].folder)
    assert result.values == {"eval_accuracy": 75.0, "eval_f1": 87.5}
    assert result.baselines["eval_f1"].value == pytest.approx(600 / 7)
    assert runs.run_all(left, runner, num_finished=1) == []
    assert len(commands) == 2
    output = capsys.readouterr().out
    told = "tiny  mrpc  seed 12346  accuracy 75.00 (majority 75.00), F1 87.50 (majority"
    assert f"[2/2] {told} 85.71)" in output


def test_figures_of_reading_are_percent_already(plan, make_runner):
    todo = plan("squad2.0", "squad")
    values = {"eval_exact": 50.0, "eval_f1": 60.0, "eval_null_threshold": -1.5}
    assert runs.run_all(todo, make_runner(values, [])) == []
    assert results.read_result(todo[0].folder).values == {
        "eval_exact": 50.0,
        "eval_f1": 60.0,
    }


def test_other_settings_weights_or_data_are_refused(plan, make_runner, data_dir, row):
    runs.run_all(plan(), make_runner(VALUES, []))

    with pytest.raises(
        ValueError,
        match=r"another run \(then --learning_rate=2e-5, now --learning_rate=1e-4\)",
    ):
        runs.leave_out_finished(plan(more=["--learning_rate=1e-4"]), overwrite=False)
    again = runs.leave_out_finished(plan(more=["--learning_rate=1e-4"]), overwrite=True)
    assert len(again) == 1
    other = model.build_row(
        "tiny", model.Model("{}\n", b"[PAD]\n", False, False, 1, "x"), "o", "", ""
    )
    with pytest.raises(ValueError, match="it started from other weights or sizes"):
        runs.leave_out_finished(plan(rows=(other,)), overwrite=False)
    with open(data_dir / "glue" / "MRPC" / "train.tsv", "a") as file:
        file.write("1\t1\t2\tMore\tB\n")
    with pytest.raises(ValueError, match="the data set has changed"):
        runs.leave_out_finished(plan(), overwrite=False)


def test_a_row_holds_one_model_and_a_mean_one_recipe(
    plan, make_runner, row, data_dir, tmp_path
):
    output_dir = str(tmp_path / "out")

    def check(todo, overwrite=True):
        left = runs.leave_out_finished(todo, overwrite)
        runs.refuse_mixtures(todo, left, output_dir)
        return left

    runs.run_all(check(plan(num_seeds=2)), make_runner(VALUES, []))
    other = model.build_row(
        "tiny", model.Model("{}\n", b"[PAD]\n", False, False, 1, "x"), "o", "", ""
    )
    # Another task, so no finished run is in the way.
    assert len(check(plan("cola"))) == 1
    with pytest.raises(
        ValueError, match=r"mrpc/seed_12345' holds a result .* \(it started from other"
    ):
        check(plan("cola", rows=(other,)), overwrite=False)
    # One seed of two would be replaced, or both.
    faster = ["--learning_rate=1e-4"]
    with pytest.raises(
        ValueError,
        match=r"seed_12346' .* \(then --learning_rate=2e-5, now --learning_rate=1e-4\)",
    ):
        check(plan(more=faster))
    assert len(check(plan(num_seeds=2, more=faster))) == 2
    assert check(plan()) == []


def test_a_failing_command_is_named_and_the_others_run(plan, make_runner, capsys):
    lines = ["Reading", "run_classifier: error: train.tsv is odd: fix it.", ""]
    todo = plan(num_seeds=2)

    failures = runs.run_all(todo, make_runner({}, [], code=1, lines=lines))

    assert len(failures) == 2
    log = f"{todo[0].folder}/log.txt"
    assert failures[0] == (
        f"tiny  mrpc  seed 12345: error: train.tsv is odd: fix it. ({log})"
    )
    assert "run_classifier: error: train.tsv is odd" in open(log).read()
    assert "[2/2] tiny  mrpc  seed 12346  error: train.tsv" in capsys.readouterr().out
    assert len(runs.leave_out_finished(todo, overwrite=False)) == 2
    assert runs.list_unfinished(todo) == [run.name for run in todo]


@pytest.mark.parametrize(
    ("code", "lines", "message"),
    [
        # Killed by the system: no sentence of its own.
        (-9, ["epoch 1"], "exit code -9: epoch 1"),
        (
            1,
            ["FATAL Flags parsing error: Unknown command line flag 'no'", "Pass -h"],
            "error: Unknown command line flag 'no' (",
        ),
    ],
    ids=["killed", "unknown flag"],
)
def test_a_command_without_an_error_line_is_described(
    plan, make_runner, code, lines, message
):
    (failure,) = runs.run_all(plan(), make_runner({}, [], code=code, lines=lines))
    assert message in failure


def test_a_damaged_file_is_found_before_anything_is_trained(
    plan, make_runner, data_dir
):
    todo, commands = plan(), []
    (data_dir / "glue" / "MRPC" / "dev.tsv").write_text("Quality\n1\n")
    (failure,) = runs.run_all(todo, make_runner(VALUES, commands))
    assert "dev.tsv has no column '#1 String'" in failure
    assert commands == []


@pytest.mark.parametrize("keeps", [True, False])
def test_models_are_removed_unless_they_are_asked_for(
    plan, make_runner, tmp_path, keeps
):
    todo = plan()
    best = tmp_path / "out" / "tiny" / "mrpc" / "seed_12345" / "best"
    write = make_runner(VALUES, [])

    def runner(command, show):
        assert not best.exists()
        best.mkdir(parents=True)
        return write(command, show)

    runs.run_all(todo, runner, keep_models=keeps)
    assert best.exists() == keeps


def test_an_interrupted_run_is_not_finished(plan):
    todo = plan()

    def interrupted(command, show):
        show("Training 1/2")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.run_all(todo, interrupted)
    assert runs.leave_out_finished(todo, overwrite=False) == todo
    assert "Training 1/2" in open(f"{todo[0].folder}/log.txt").read()


def test_interrupted_overwriting_leaves_no_result_of_other_settings(
    plan, make_runner, row, tmp_path
):
    runs.run_all(plan(num_seeds=3), make_runner(VALUES, []))
    changed = plan(num_seeds=3, more=["--learning_rate=1e-4"])
    left = runs.leave_out_finished(changed, overwrite=True)
    commands = []
    write = make_runner(VALUES, commands)

    def runner(command, show):
        if commands:
            raise KeyboardInterrupt
        return write(command, show)

    with pytest.raises(KeyboardInterrupt):
        runs.run_all(left, runner)
    (found,) = results.read_runs(str(tmp_path / "out" / row.name))
    assert "--learning_rate=1e-4" in found.identity["flags"]
    assert runs.leave_out_finished(changed, overwrite=False) == left[1:]


def test_curves_of_an_earlier_run_are_removed(plan, make_runner, tmp_path):
    todo = plan()
    curves = tmp_path / "out" / "tiny" / "mrpc" / "seed_12345" / "tensorboard"
    curves.mkdir(parents=True)
    runs.run_all(todo, make_runner(VALUES, []))
    assert not curves.exists()


def test_a_damaged_result_is_named(plan, make_runner):
    todo = plan()
    runs.run_all(todo, make_runner(VALUES, []))
    path = f"{todo[0].folder}/result.json"
    with open(path, "w") as file:
        file.write("{}")
    with pytest.raises(ValueError, match=f"{path} is no result of a run .*: remove it"):
        runs.leave_out_finished(todo, overwrite=False)


def test_commands_are_run_and_their_lines_are_shown():
    lines = []
    program = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
    code = runs.run_command([sys.executable, "-u", "-c", program], lines.append)
    assert (code, sorted(lines)) == (3, ["one", "two"])


def test_a_command_ends_with_an_interrupted_suite():
    program = "import time; print('up', flush=True); time.sleep(600)"
    started = []

    def interrupt(line):
        started.append(line)
        raise KeyboardInterrupt

    # Returns at once, though the command would run for ten minutes.
    with pytest.raises(KeyboardInterrupt):
        runs.run_command([sys.executable, "-c", program], interrupt)
    assert started == ["up"]
