import contextlib
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.bert_cn import records
from tests.conftest import REPOSITORY
from tests.tpu import tpu_api
from tpu import node, supervision

MODULE = "tpu.supervise"
# How often the slow test kills its trainer; each time costs some ten seconds.
KILLS = int(os.environ.get("BERT_CN_KILLS", "1"))

# Each life does what the next word says, and notes it: an exit code, or "kill", "wait".
CHILD = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
word, *rest = (folder / "plan").read_text().split()
(folder / "plan").write_text(" ".join(rest))
def note(text):
    with open(folder / "notes", "a") as file:
        file.write(text + "\\n")
def save(number, _):
    note(signal.Signals(number).name)
signal.signal(signal.SIGINT, save)
signal.signal(signal.SIGTERM, save)
note(word)
if word == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
while word == "wait":
    time.sleep(0.02)
    if (folder / "notes").read_text().split()[-1].startswith("SIG"):
        time.sleep(0.3)  # For a second signal, if there is one.
        sys.exit(0)
sys.exit(int(word))
"""


@pytest.fixture
def child(tmp_path):
    """Returns a function: plan for the lives -> command; notes lie in `tmp_path`."""

    def build(plan: str) -> list[str]:
        (tmp_path / "plan").write_text(plan)
        return [sys.executable, "-c", CHILD, str(tmp_path)]

    return build


@pytest.fixture
def notes(tmp_path):
    return lambda: (tmp_path / "notes").read_text().split()


def test_lives_go_on_until_one_succeeds(run_command, child, notes, tmp_path):
    done = run_command(
        MODULE,
        "--backoff_seconds=0.01",
        f"--recreate_command=echo delete >> {tmp_path}/notes",
        f"--recreate_command=echo create >> {tmp_path}/notes",
        "--",
        *child("75 kill 0 75"),
    )
    assert done.returncode == 0, done.stderr
    again = ["delete", "create"]
    assert notes() == ["75", *again, "kill", *again, "0"]
    lives = re.findall(r"supervise: (life .*)", done.stderr)
    lives = [re.sub(r"after \d+ s", "after 0 s", life) for life in lives]
    assert lives == [
        "life 1 ended after 0 s with exit code 75; restart 1 in 0 s.",
        "life 2 ended after 0 s with SIGKILL; restart 2 in 0 s.",
        "life 3 ended after 0 s with exit code 0: done.",
    ]


def test_mistakes_are_not_run_again(run_command, child, notes):
    done = run_command(MODULE, "--", *child("1 0"))
    assert done.returncode == 1
    assert "exit code 1; running it again would not help." in done.stderr
    assert notes() == ["1"]


def test_it_is_given_up_in_the_end(run_command, child, notes):
    done = run_command(
        MODULE,
        "--max_restarts=2",
        "--backoff_seconds=0.01",
        "--transient_codes=75,255",
        "--",
        *child("75 255 75 0"),
    )
    assert done.returncode == 75
    assert "given up after --max_restarts=2." in done.stderr
    assert notes() == ["75", "255", "75"]


@pytest.mark.parametrize(
    ("arguments", "saying"),
    [
        ([], ("supervise: error: There is no command to run",)),
        (["--transient_codes=a,b", "true"], ("--transient_codes=a,b: give numbers",)),
        (["no-such-command"], ("'no-such-command' cannot be run: No such file",)),
    ],
)
def test_wrong_command_line_is_refused(assert_refused, arguments, saying):
    assert_refused(MODULE, *arguments, saying=saying)


def wait_for(condition, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_word(folder: pathlib.Path, word: str):
    """Wait for the child's note itself: its file is there before the word is."""
    file = folder / "notes"
    wait_for(lambda: file.exists() and word in file.read_text().split())


@pytest.fixture
def start():
    """Returns a function that starts the command; what still runs is ended."""
    started = []

    def build(*arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, *arguments],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield build
    for process in started:
        if process.poll() is None:
            process.terminate()  # Which it tells its command.
            try:
                process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_reaches_the_command_once_and_ends_it(
    start, child, notes, tmp_path, number
):
    process = start("--", *child("wait 0"))
    wait_for_word(tmp_path, "wait")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert notes() == ["wait", number.name]
    assert f"exit code 0, as {number.name} asked." in errors


def test_signal_ends_the_pause_between_two_lives(start, child, notes):
    process = start("--backoff_seconds=600", "--", *child("75 0"))
    while "restart 1 in 10 min" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    process.stderr.close()
    assert notes() == ["75"]


@pytest.mark.parametrize("terminal", ["&0", "/dev/tty"])
def test_command_that_wants_the_terminal_is_not_stopped_by_it(terminal):
    arguments = [sys.executable, "-m", MODULE, "--", "sh", "-c"]
    # stty has none to work on; as a job in the background it would wait for ever.
    arguments.append(f"stty raw <{terminal}; exit 5")
    pid, terminal_of_user = pty.fork()
    if pid == 0:
        os.chdir(REPOSITORY)
        os.execv(sys.executable, arguments)
    shown = b""
    os.set_blocking(terminal_of_user, False)

    def has_ended() -> bool:
        nonlocal shown
        with contextlib.suppress(OSError):
            shown += os.read(terminal_of_user, 10_000)
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)

    try:
        wait_for(has_ended, 300)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        assert b"with exit code 5; running it again" in shown
    finally:
        os.close(terminal_of_user)


HEALTHY = node.Health("READY", "HEALTHY", node.Verdict.HEALTHY)
SICK = node.Health("REPAIRING", "", node.Verdict.MAY_RECOVER)
GONE = node.Health("PREEMPTED", "", node.Verdict.GONE)


class Tpu:
    """Gives the answer that it was given, until the command that creates it has run."""

    def __init__(self, found, folder: pathlib.Path):
        self.found = found
        self.made = folder / "made"

    def look(self) -> node.Health:
        if self.made.exists():
            return HEALTHY
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def supervise(self, command: list[str], poll_seconds: float = 60.0) -> int:
        settings = supervision.Settings(
            command,
            (f"touch {self.made}",),
            backoff_seconds=0.01,
            poll_seconds=poll_seconds,
            wait_seconds=0.0,
            look=self.look,
        )
        with supervision.SignalRelay() as relay:
            return supervision.supervise(settings, relay)


@pytest.mark.parametrize(
    ("plan", "found", "made", "code"),
    [
        # A TPU that is gone is created again, however the command ended.
        ("1 0", GONE, True, 0),
        ("75 0", GONE, True, 0),
        # One that does not recover in time, too.
        ("75 0", SICK, True, 0),
        # A healthy one is kept, and so is one that nobody can look at.
        ("75 0", HEALTHY, False, 0),
        ("75 0", OSError("503"), False, 0),
        ("1 0", HEALTHY, False, 1),
    ],
)
def test_tpu_is_created_again_only_if_it_must_be(
    child, tmp_path, plan, found, made, code
):
    tpu = Tpu(found, tmp_path)
    assert tpu.supervise(child(plan)) == code
    assert tpu.made.exists() == made


def test_signal_reaches_what_a_shell_started(start, child, notes, tmp_path):
    # The shell must stay in between: it has something to do after the command.
    process = start("--", "sh", "-c", '"$@"; exit 5', "sh", *child("wait 0"))
    wait_for_word(tmp_path, "wait")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    # The shell may end before the command that it started has written its note.
    wait_for(lambda: len(notes()) > 1)
    assert notes() == ["wait", "SIGTERM"]


def test_signal_ends_the_creation_of_the_tpu(start, child, tmp_path):
    process = start(
        "--backoff_seconds=0",
        f"--recreate_command=touch {tmp_path}/made; sleep 600",
        "--",
        *child("75 0"),
    )
    wait_for((tmp_path / "made").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


def test_command_that_hangs_on_a_dead_tpu_is_ended(child, notes, tmp_path):
    tpu = Tpu(GONE, tmp_path)
    assert tpu.supervise(child("wait 0"), poll_seconds=0.5) == 0
    assert notes() == ["wait", "SIGTERM", "0"]
    assert tpu.made.exists()


def test_command_that_does_not_end_itself_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "_GRACE_SECONDS", 0.2)
    tpu = Tpu(GONE, tmp_path)
    script = f"test -e {tmp_path}/made && exit 0; trap '' TERM; sleep 600 & wait; wait"
    assert tpu.supervise(["sh", "-c", script], poll_seconds=0.5) == 0


def test_wait_doubles_up_to_ten_minutes_and_a_long_life_starts_a_new_row(
    child, capsys, monkeypatch
):
    slept = []
    relay = supervision.SignalRelay()
    monkeypatch.setattr(relay, "sleep", slept.append)
    settings = supervision.Settings(child("75 75 75 0"), backoff_seconds=200.0)
    assert supervision.supervise(settings, relay) == 0
    assert slept == [200, 400, 600]
    slept.clear()
    monkeypatch.setattr(supervision, "_LONG_LIFE_SECONDS", 0.0)
    settings = supervision.Settings(child("75 75 75 0"), max_restarts=1)
    assert supervision.supervise(settings, relay) == 0
    assert slept == [10, 10, 10]
    assert "restart 1 in 10 s." in capsys.readouterr().err


NAMED = ("--tpu=pod", f"--zone={tpu_api.ZONE}", f"--project={tpu_api.PROJECT}")


@pytest.fixture
def api_client():
    pytest.importorskip("cloud_tpu_client", reason="pip install '.[tpu]' brings it")


@pytest.mark.usefixtures("api_client")
@pytest.mark.parametrize(
    ("status", "saying"),
    [
        (403, "supervise: error: TPU pod: Google refuses"),
        (404, "supervise: error: There is no such TPU: check --tpu, --zone and"),
    ],
)
def test_tpu_that_cannot_be_seen_is_a_mistake_at_the_start(
    api, assert_refused, status, saying
):
    api.nodes["pod"] = [status]
    assert_refused(MODULE, *NAMED, "true", saying=(saying,))


@pytest.mark.usefixtures("api_client")
def test_tpu_that_is_not_there_is_made_before_the_first_life(
    api, run_command, child, notes, tmp_path
):
    # A look at a node that is there asks three times.
    api.nodes["pod"] = [404, 404, {"state": "READY", "health": "HEALTHY"}]
    made = f"--recreate_command=echo made >> {tmp_path}/notes"
    quick = ("--poll_seconds=0.05", "--wait_minutes=1")
    done = run_command(MODULE, *NAMED, *quick, made, "--", *child("0"))
    assert done.returncode == 0, done.stderr
    assert notes() == ["made", "0"]
    assert "Not healthy yet (NOT_FOUND, of unknown health); waiting." in done.stderr


@pytest.mark.usefixtures("api_client")
def test_tpu_made_under_another_name_is_a_mistake(
    api, assert_refused, child, notes, tmp_path
):
    assert_refused(
        MODULE,
        *NAMED,
        "--wait_minutes=0",
        f"--recreate_command=echo made >> {tmp_path}/notes",
        *("--", *child("0")),
        saying=(
            "supervise: error: --recreate_command has ended well, but there is no",
        ),
    )
    assert notes() == ["made"]


@pytest.mark.slow
def test_killed_trainer_ends_with_the_weights_of_the_unbroken_run(
    start, run_command, record_files, small_config, tmp_path
):
    config_file = tmp_path / "bert_config.json"
    config_file.write_text(small_config.to_json(), encoding="utf-8")
    steps = 400 * (KILLS + 1)
    arguments = {
        "bert_config_file": config_file,
        "input_file": ",".join(record_files),
        "max_seq_length": records.LENGTH,
        "max_predictions_per_seq": records.PREDICTIONS,
        "train_batch_size": 8,
        "num_train_steps": steps,
        "num_warmup_steps": 2,
        "save_checkpoints_steps": 50,
        "max_checkpoints": steps,
        "iterations_per_loop": 5,
        "do_train": "true",
    }
    flags = [f"--{name}={value}" for name, value in arguments.items()]
    trainer = "bert_cn.run_pretraining"
    done = run_command(trainer, *flags, f"--output_dir={tmp_path}/unbroken")
    assert done.returncode == 0, done.stderr

    process = start(
        "--backoff_seconds=0.01",
        "--",
        *("sh", "-c", f'echo $$ > {tmp_path}/pid; exec "$@"', "sh"),
        *(sys.executable, "-m", trainer, *flags, f"--output_dir={tmp_path}/killed"),
    )
    for kill in range(KILLS):
        newest = tmp_path / "killed" / f"ckpt-{400 * kill + 50}.index"
        wait_for(newest.exists, 300)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert len(re.findall("with SIGKILL; restart", errors)) == KILLS
    assert f"life {KILLS + 1} ended" in errors
    one, other = (
        tf.train.load_checkpoint(str(tmp_path / name / f"ckpt-{steps}"))
        for name in ("unbroken", "killed")
    )
    names = [
        name
        for name in one.get_variable_to_shape_map()
        # The graph of objects is no state, and only the killed run counted other saves.
        if "OBJECT_GRAPH" not in name and not name.startswith("save_counter")
    ]
    assert len(names) > 100
    for name in names:
        np.testing.assert_array_equal(one.get_tensor(name), other.get_tensor(name))
