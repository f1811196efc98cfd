"""The real command, as a user runs it."""

import json
import os
import pathlib
import pty
import resource
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from bert_cn.conversion import formats
from tests.bert_cn import hosts, records
from tests.conftest import REPOSITORY

MODULE = "bert_cn.run_pretraining"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, small_config) -> str:
    path = tmp_path_factory.mktemp("config") / "bert_config.json"
    path.write_text(small_config.to_json(), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def vocab_file(tmp_path_factory) -> str:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [chr(0x4E00 + i) for i in range(records.VOCAB_SIZE - len(tokens))]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def run_arguments(config_file, record_files):
    """Returns a function: output folder -> flags of a run of six steps."""
    return lambda folder: {
        "bert_config_file": config_file,
        "input_file": ",".join(record_files),
        "output_dir": str(folder),
        "max_seq_length": records.LENGTH,
        "max_predictions_per_seq": records.PREDICTIONS,
        "train_batch_size": 8,
        "num_train_steps": 6,
        "num_warmup_steps": 2,
        "do_train": "true",
    }


@pytest.fixture
def arguments(run_arguments, tmp_path) -> dict[str, str]:
    return run_arguments(tmp_path / "run")


@pytest.fixture(scope="module")
def trained(run_command, run_arguments, tmp_path_factory) -> dict[str, str]:
    """The flags of a run that has ended; its folder must stay as it is."""
    arguments = run_arguments(tmp_path_factory.mktemp("trained"))
    done = run_command(MODULE, *as_flags(arguments))
    assert done.returncode == 0, done.stderr
    return arguments


def as_flags(arguments: dict) -> list[str]:
    return [f"--{name}={value}" for name, value in arguments.items()]


def test_training_twice_trains_once_and_leaves_the_files_that_it_names(
    run_command, arguments, vocab_file, tmp_path
):
    arguments |= {"vocab_file": vocab_file, "do_lower_case": "false", "do_eval": "true"}
    arguments["random_seed"] = 0
    done = run_command(MODULE, *as_flags(arguments))
    assert done.returncode == 0, done.stderr
    assert "\n1/6  loss" in done.stdout
    assert "\n6/6  loss" in done.stdout
    names = set(os.listdir(tmp_path / "run"))
    assert names >= {
        "bert_config.json",
        "vocab.txt",
        "tokenizer_config.json",
        "checkpoint",
        "ckpt-6.index",
        "eval_results.txt",
        "loss_curve.png",
        "run_report.html",
        "tensorboard",
        "weights",
    }
    weights = tmp_path / "run" / "weights"
    assert {path.name for path in weights.iterdir()} >= {"vocab.txt", "ckpt-6.index"}
    # Weights without the two moments of each.
    name = "ckpt-6.data-00000-of-00001"
    sizes = [(tmp_path / "run" / name).stat().st_size, (weights / name).stat().st_size]
    assert sizes[0] > 2.5 * sizes[1]
    results = (tmp_path / "run" / "eval_results.txt").read_text()
    assert "global_step = 6\n" in results
    for name in ("perplexity", "next_sentence_majority", "masked_lm_accuracy_alone"):
        assert f"\n{name} = " in results
        assert f"  {name} = " in done.stdout
    samples = (tmp_path / "run" / "eval_samples.md").read_text(encoding="utf-8")
    assert len(samples.splitlines()) == 2 + 2 + 10
    assert f"Sample fillings: {tmp_path}/run/eval_samples.md" in done.stdout

    again = run_command(MODULE, *as_flags(arguments))
    assert again.returncode == 0, again.stderr
    assert "Nothing to train: the checkpoint is at step 6" in again.stdout
    assert (tmp_path / "run" / "eval_results.txt").read_text() == results


def test_evaluation_during_training_keeps_the_best_weights(
    run_command, arguments, tmp_path
):
    more = {
        "do_eval": "true",
        "eval_every_steps": 2,
        "optimizer": "lamb",
        "precision": "mixed_bfloat16",
        "gradient_accumulation_steps": 2,
        "save_checkpoints_minutes": 0.0001,
    }

    def run(**changes) -> list[str]:
        done = run_command(MODULE, *as_flags(arguments | more | changes))
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        lines = [x for x in said[-1].splitlines() if x.startswith("Evaluated")]
        return [line.rsplit(" ", 1)[1] for line in lines]

    said = []
    assert run() == ["2:", "4:", "6:"]
    # So a run leaves it that is killed between saving and evaluating.
    (tmp_path / "run" / "eval_results.txt").unlink()
    # A resumed run keeps its precision.
    assert run(num_train_steps=8, precision="auto") == ["6:", "8:"]
    assert "--precision=auto" not in said[-1]
    assert "Now --num_train_steps is 8, before it was 6: the learning" in said[-1]
    best = json.loads((tmp_path / "run" / "best" / "best_results.json").read_text())
    weights = formats.read_checkpoint(str(tmp_path / "run" / "best"))
    assert weights.global_step == best["global_step"]


def test_length_in_epochs_is_counted_in_records(run_command, arguments):
    more = {"num_train_epochs": 0.5, "do_train": "true"}
    done = run_command(MODULE, *as_flags(arguments | more))
    assert done.returncode == 1
    assert "or files that no manifest lists: pass --num_train_steps." in done.stderr


def test_stopped_run_ends_with_code_0_and_the_command_that_resumes_it(
    warm, arguments, tmp_path
):
    more = {"num_train_steps": 1_000_000, "log_steps": 1, "do_eval": "true"}
    flags = as_flags(arguments | more)
    process = warm.start(MODULE, flags)
    for line in process.follow_stdout():
        if line.startswith("3/"):
            break
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    (saved,) = (tmp_path / "run").glob("ckpt-*.index")
    step = int(saved.stem.removeprefix("ckpt-"))
    again = shlex.join(["python", "-m", MODULE, *flags])
    assert said.endswith(f"Stopped at step {step}. Resume with:\n  {again}\n")
    # A stopped run ends at once, without an evaluation.
    assert not (tmp_path / "run" / "eval_results.txt").exists()


def test_storage_that_does_not_answer_has_an_exit_code_of_its_own(
    warm, arguments, tmp_path
):
    program = """
import tensorflow as tf

def fail(*_):
    raise tf.errors.UnavailableError(None, None, "503")

tf.train.Checkpoint.restore = fail
from bert_cn import run_pretraining
run_pretraining.command_line.run_command(run_pretraining.main)
"""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ckpt-4.index").touch()
    done = warm.run("failing", as_flags(arguments), program=program)
    assert done.returncode == 75, done.stderr
    assert done.stderr.splitlines()[-1].endswith("error: 503")
    assert os.listdir(tmp_path / "run") == ["ckpt-4.index"]


def test_closed_terminal_ends_the_run_with_a_checkpoint_and_the_code_asked_for(
    arguments, tmp_path
):
    more = {
        "num_train_steps": 1_000_000,
        "save_checkpoints_steps": 1_000_000,
        "iterations_per_loop": 1,
        "log_steps": 1,  # Each line is an error on a terminal that is gone.
        "interrupted_exit_code": 75,
    }
    command = [sys.executable, "-m", MODULE, *as_flags(arguments | more)]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's is inherited.
        os.chdir(REPOSITORY)
        os.execv(sys.executable, command)
    shown = b""
    while b"\n3/" not in shown:
        shown += os.read(terminal, 10_000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    (saved,) = (tmp_path / "run").glob("ckpt-*.index")
    assert int(saved.stem.removeprefix("ckpt-")) >= 3
    assert (tmp_path / "run" / "loss_curve.png").exists()


def read_files(folder: str) -> dict[str, bytes]:
    paths = pathlib.Path(folder).iterdir()
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def test_other_data_or_settings_on_resume_are_refused(
    assert_refused, trained, record_files, vocab_file
):
    before = read_files(trained["output_dir"])
    other = trained | {"learning_rate": 0.5, "vocab_file": vocab_file}
    assert_refused(MODULE, *as_flags(other), saying=("--learning_rate", "now 0.5"))
    other = trained | {"input_file": record_files[0]}
    assert_refused(MODULE, *as_flags(other), saying=("records of --input_file",))
    assert read_files(trained["output_dir"]) == before


def test_output_folder_of_another_model_is_refused_and_kept(
    assert_refused, trained, small_config, tmp_path
):
    before = read_files(trained["output_dir"])
    values = json.loads(small_config.to_json()) | {"num_hidden_layers": 1}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(values))
    assert_refused(
        MODULE,
        *as_flags(trained | {"bert_config_file": other}),
        saying=("num_hidden_layers=2", "num_hidden_layers=1", "another one"),
    )
    assert read_files(trained["output_dir"]) == before


def test_training_starts_from_another_runs_weights(
    run_command, trained, arguments, tmp_path
):
    # A learning rate of 0 leaves the weights as they were.
    start = {
        "init_checkpoint": trained["output_dir"],
        "learning_rate": 0,
        "random_seed": 7,
    }
    done = run_command(MODULE, *as_flags(arguments | start))
    assert done.returncode == 0, done.stderr
    assert f"Started from {trained['output_dir']}." in done.stdout
    one, other = (
        formats.read_checkpoint(folder).weights
        for folder in (trained["output_dir"], str(tmp_path / "run"))
    )
    assert one.keys() == other.keys()
    for name, weight in one.items():
        np.testing.assert_array_equal(weight, other[name])


@pytest.mark.slow
def test_two_hosts_write_one_run(warm, arguments, record_files, tmp_path):
    # Fewer files than hosts to evaluate on.
    arguments |= {"do_eval": "true", "eval_input_file": record_files[0]}
    processes = hosts.start_hosts(warm, MODULE, [as_flags(arguments)] * 2)
    outputs = [process.communicate(timeout=300) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    assert "\n6/6  " in outputs[0][0]
    assert "on 2 replica(s)" in outputs[0][0]
    assert "Evaluated 20 sequences of --eval_input_file at step 6" in outputs[0][0]
    assert outputs[1][0] == ""
    results = (tmp_path / "run" / "eval_results.txt").read_text()
    assert "global_step = 6\n" in results
    assert (tmp_path / "run" / "ckpt-6.index").exists()


@pytest.mark.slow
def test_records_of_a_batch_that_spoils_the_loss_are_named(
    assert_refused, arguments, tmp_path
):
    rng = np.random.default_rng(0)
    rows = [records.make_record(rng, number) for number in range(32)]
    rows[20]["masked_lm_weights"][0] = np.nan
    path = tmp_path / "bad.tfrecord"
    records.write_records(path, rows)
    more = {"input_file": path, "save_checkpoints_steps": 1}
    said = assert_refused(
        MODULE, *as_flags(arguments | more), saying=("not finite in step",)
    )
    (listed,) = (tmp_path / "run").glob("records_of_step_*.txt")
    step = int(listed.stem.rpartition("_")[2])
    assert f"not finite in step {step};" in said
    assert f"listed in {listed};" in said
    lines = listed.read_text().splitlines()
    assert len(lines) == 8
    assert f"{path}\t21" in lines
    # The newest checkpoint is from before that step.
    steps = {int(p.stem[5:]) for p in (tmp_path / "run").glob("ckpt-*.index")}
    assert max(steps, default=0) == step - 1


@pytest.mark.slow
def test_full_disk_while_saving_keeps_the_checkpoint_before(
    run_command, arguments, tmp_path
):
    def limit_files():
        # Like a full disk, this stops a write halfway.
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, size - 1))

    done = run_command(MODULE, *as_flags(arguments | {"num_train_steps": 4}))
    assert done.returncode == 0, done.stderr
    saved = tmp_path / "run" / "ckpt-4.data-00000-of-00001"
    size, content = saved.stat().st_size, saved.read_bytes()

    full = subprocess.run(
        [sys.executable, "-m", MODULE, *as_flags(arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit_files,
    )
    assert full.returncode == 1, full.stderr
    # XLA has lines of its own above.
    *_, said = full.stderr.splitlines()
    assert said.startswith(
        "run_pretraining: error: The checkpoint of step 6 cannot be written, "
        f"{tmp_path}/run/ckpt-4 stays good ("
    )
    assert "File too large" in said
    assert said.endswith("free some space and run the same command again.")
    assert "Traceback" not in full.stderr
    assert saved.read_bytes() == content
    assert not list((tmp_path / "run").glob("ckpt-6*"))

    done = run_command(MODULE, *as_flags(arguments))
    assert done.returncode == 0, done.stderr
    assert "(step 4)" in done.stdout
    assert (tmp_path / "run" / "ckpt-6.index").exists()


REFUSED = {
    "no input": ({"input_file": "nowhere-*.tfrecord"}, ("nowhere-*", "matches no")),
    "length that the records have not": (
        {"max_seq_length": 64},
        ("max_seq_length 16", "--max_seq_length=64: pass --max_seq_length=16"),
    ),
    "no configuration": (
        {"bert_config_file": "none.json"},
        ("none.json", "--bert_config_file"),
    ),
    "nothing to do": ({"do_train": "false"}, ("Nothing to do", "--do_train")),
    "negative seed": ({"random_seed": -1}, ("--random_seed=-1", "[0, 4294967295]")),
    "no initial checkpoint": (
        {"init_checkpoint": "nothing"},
        ("nothing", "No checkpoint is recognised"),
    ),
    "local path for a TPU": (
        {"tpu": "grpc://127.0.0.1:1"},
        ("--input_file=", "a path on this machine"),
    ),
    "no TPU": (
        {
            "tpu": "grpc://127.0.0.1:1",
            "input_file": "gs://bucket/x",
            "output_dir": "gs://bucket/run",
        },
        ("--tpu=grpc://127.0.0.1:1", "no TPU"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_flag_is_refused(assert_refused, arguments, name, tmp_path):
    changes, saying = REFUSED[name]
    assert_refused(MODULE, *as_flags(arguments | changes), saying=saying)
    # Nothing is left that the corrected command would have to agree with.
    assert not list(tmp_path.glob("run/*"))


def test_vocabulary_of_another_size_is_refused(
    assert_refused, arguments, vocab_file, tmp_path
):
    larger = tmp_path / "larger.txt"
    with open(vocab_file, encoding="utf-8") as file:
        larger.write_text(file.read() + "多\n", encoding="utf-8")
    arguments["vocab_file"] = str(larger)
    assert_refused(
        MODULE, *as_flags(arguments), saying=("has 41 tokens", "has 40: use the")
    )


def test_wrong_flag_is_refused_with_a_suggestion(run_command, arguments):
    done = run_command(MODULE, *as_flags(arguments), "--learning_rat=1")
    assert done.returncode != 0
    assert "learning_rat'. Did you mean: learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
