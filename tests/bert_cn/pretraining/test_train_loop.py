import contextlib
import dataclasses
import functools
import math
import os
import signal
import types

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import losses, token_frequencies, train_loop, train_step
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import reporting, schedules


class Rehearsal:
    """A run without a model that notes when the loop does what, by its own clock.

    Args:
        step: the step that it resumes from.
        seconds: step -> how long that update takes.
        saved_step: of the newest checkpoint.
    """

    def __init__(self, monkeypatch, step=0, seconds=lambda step: 1, saved_step=None):
        self.step, self.latest_step, self.latest = step, saved_step, None
        self._seconds, self.now = seconds, 0.0
        self.calls, self.events = [], []
        self.seconds_since_report = 0.0
        self.stop_at = math.inf
        # As a trainer, by steps or by time.
        self.schedule, self.time_budget = self, None
        self._num_train_steps = 0
        clock = types.SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(train_loop, "time", clock)

    def __bool__(self) -> bool:
        return self.step >= self.stop_at

    def distribute(self, step):
        return []

    def train_steps(self, _, num_steps):
        self.calls.append(int(num_steps))
        for _ in range(int(num_steps)):
            self.step += 1
            self.now += self._seconds(self.step)
        sums = tf.zeros([losses.NUM_SUMS])
        return train_step.LoopResults(sums, num_steps, tf.constant(0.0))

    def agree(self, flag):
        return flag

    def average(self, value):
        return value

    def last_step(self, step):
        return self._num_train_steps

    def summarize(self, sums):
        return {}

    def report(self, *_):
        pass

    def stop_clock(self):
        return contextlib.nullcontext()

    def save(self):
        self.latest_step = self.step
        self.events.append(f"save {self.step}")

    def evaluate(self):
        self.events.append(f"evaluate {self.step}")

    def run(self, **settings) -> bool:
        args = settings_lib.PretrainingArgs(**settings)
        self._num_train_steps = args.num_train_steps
        parts = train_loop.Run(args, self, self, self, self, self.evaluate, "")
        return train_loop.run_updates(parts, self)


def test_calls_grow_until_they_take_long_and_shrink_if_steps_do(monkeypatch):
    run = Rehearsal(monkeypatch, seconds=lambda step: 1 if step <= 31 else 10)
    assert run.run(num_train_steps=50, iterations_per_loop=1000)
    # No more than 15 seconds: 8 of 1 second, 1 of 10.
    assert run.calls == [1, 2, 4, 8, 8, 8, 8, 4, 2, 1, 1, 1, 1, 1]
    run = Rehearsal(monkeypatch, seconds=lambda step: 0.001)
    assert run.run(num_train_steps=30)
    assert run.calls == [1, 2, 4, 8, 10, 5]


def test_checkpoints_come_by_minutes_too_and_once_each(monkeypatch):
    run = Rehearsal(monkeypatch, seconds=lambda step: 30)
    assert run.run(
        num_train_steps=7, save_checkpoints_steps=5, save_checkpoints_minutes=1.0
    )
    assert run.events == ["save 2", "save 4", "save 5", "save 7"]


def test_stopped_run_saves_unless_its_step_is_saved(monkeypatch):
    settings = {
        "num_train_steps": 10,
        "iterations_per_loop": 1,
        "save_checkpoints_steps": 5,
    }
    run = Rehearsal(monkeypatch)
    run.stop_at = 5
    assert not run.run(**settings)
    assert run.events == ["save 5"]
    # Stopped before its first step: the checkpoint that it resumed from is there.
    run = Rehearsal(monkeypatch, step=5, saved_step=5)
    run.stop_at = 5
    assert not run.run(**settings)
    assert run.events == []


def test_evaluation_that_a_stop_or_kill_left_out_comes_first_on_resume(
    monkeypatch, tmp_path
):
    settings = {
        "num_train_steps": 8,
        "save_checkpoints_steps": 4,
        "do_eval": True,
        "eval_every_steps": 2,
        "output_dir": str(tmp_path),
    }
    unbroken = Rehearsal(monkeypatch)
    assert unbroken.run(**settings)
    assert unbroken.events == [
        "evaluate 2",
        "save 4",
        "evaluate 4",
        "evaluate 6",
        "save 8",
    ]
    stopped = Rehearsal(monkeypatch)
    stopped.stop_at = 4
    assert not stopped.run(**settings)
    assert stopped.events == ["evaluate 2", "save 4"]
    reporting.write_eval_results(str(tmp_path), {}, 2)
    resumed = Rehearsal(monkeypatch, step=4, saved_step=4)
    assert resumed.run(**settings)
    assert stopped.events + resumed.events == unbroken.events
    # Once it has written its results, it is not made again.
    reporting.write_eval_results(str(tmp_path), {}, 4)
    resumed = Rehearsal(monkeypatch, step=4, saved_step=4)
    assert resumed.run(**settings)
    assert resumed.events == ["evaluate 6", "save 8"]


def test_run_that_starts_from_a_checkpoint_is_measured_first(monkeypatch):
    settings = {"num_train_steps": 2, "do_eval": True, "init_checkpoint": "bert"}
    run = Rehearsal(monkeypatch)
    assert run.run(**settings)
    assert run.events == ["evaluate 0", "save 2"]
    run = Rehearsal(monkeypatch)
    assert run.run(**(settings | {"init_checkpoint": ""}))
    assert run.events == ["save 2"]


def test_run_by_time_ends_at_that_time_after_a_resume_too(
    monkeypatch, start_run, tmp_path
):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(train_loop, "time", clock)
    monkeypatch.setattr(schedules, "time", clock)
    train_steps = train_step.Trainer.train_steps

    def take_time(self, iterator, num_steps):
        now[0] += 2.0 * int(num_steps)
        return train_steps(self, iterator, num_steps)

    monkeypatch.setattr(train_step.Trainer, "train_steps", take_time)
    settings = {"train_minutes": 1.0, "num_warmup_steps": 0, "learning_rate": 1.0}
    run = start_run(tmp_path / "whole", **settings)
    assert run.train()
    assert run.trainer.step == 30
    # The last update had a thirtieth of the rate.
    assert float(run.trainer.schedule(29)) == pytest.approx(1 / 30)

    run = start_run(tmp_path / "parts", **settings)
    stopped = train_loop.count_steps_until_pause
    monkeypatch.setattr(
        train_loop,
        "count_steps_until_pause",
        lambda args, step, last: (
            os.kill(os.getpid(), signal.SIGTERM) or stopped(args, step, last)
        ),
    )
    assert not run.train()
    assert run.trainer.step == 1
    monkeypatch.setattr(train_loop, "count_steps_until_pause", stopped)
    now[0] += 3600.0
    run = start_run(tmp_path / "parts", **settings)
    assert not train_loop.is_finished(run.trainer)
    assert run.train()
    assert run.trainer.step == 30
    again = start_run(tmp_path / "parts", **settings)
    assert train_loop.is_finished(again.trainer)


def test_note_says_once_that_no_context_is_learned(start_run, capsys, monkeypatch):
    habits = token_frequencies.Habits("的", 0.04)
    parts = dataclasses.replace(start_run().parts, habits=habits)

    def report(step, accuracy):
        train_loop._report(parts, step, {"masked_lm_accuracy": accuracy}, 0.0)
        return [
            line
            for line in capsys.readouterr().out.splitlines()
            if line.startswith("note")
        ]

    assert report(100, 0.04) == []  # Nobody expects more so early.
    (note,) = report(600, 0.137)
    assert "copying the tokens that masking left unchanged and answering '的'" in note
    assert report(700, 0.137) == []


def test_pauses_come_at_reports_checkpoints_and_the_end():
    args = settings_lib.PretrainingArgs(
        num_train_steps=12,
        iterations_per_loop=4,
        save_checkpoints_steps=5,
        log_steps=6,
        eval_every_steps=7,  # Without --do_eval it has no effect.
    )
    step, stops = 0, []
    while step < 12:
        step += train_loop.count_steps_until_pause(args, step, 12)
        stops.append(step)
    assert stops == [1, 5, 6, 10, 12]


OPTIMIZERS = {
    "bert_adamw": {},
    "muon": {"optimizer": "muon", "muon_learning_rate": 0.02, "adam_beta2": 0.9},
    "gently": {
        "optimizer": "adamw",
        "layer_decay": 0.8,
        "l2_to_init": 0.1,
        "freeze": "layers:0",
    },
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_signal_saves_and_the_resumed_run_ends_with_the_same_weights(
    start_run, tmp_path, name
):
    start_run = functools.partial(start_run, **OPTIMIZERS[name])
    unbroken = start_run(tmp_path / "unbroken")
    assert unbroken.train()

    stopped = start_run(tmp_path / "stopped")
    report = stopped.parts.reporter.report

    def report_and_interrupt(step, *arguments):
        report(step, *arguments)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped.parts.reporter.report = report_and_interrupt
    assert not stopped.train()
    assert stopped.trainer.step == 6

    resumed = start_run(tmp_path / "stopped")
    assert resumed.trainer.step == 6
    assert resumed.train()
    for one, other in zip(unbroken.weights(), resumed.weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    start_run, tmp_path
):
    assert start_run(num_train_steps=6).train()
    run = start_run()
    run.trainer.model.get_layer(pretraining_model.MLM_HEAD).bias.assign(
        np.full(40, np.nan)
    )
    saved = run.checkpoints.latest
    with pytest.raises(
        FloatingPointError,
        match=f"not finite in step 7; .*--init_checkpoint={saved} starts from.*"
        f"listed in {tmp_path}/records_of_step_7.txt; ",
    ):
        run.train()
    assert run.checkpoints.latest == saved
