import contextlib
import dataclasses
import math
import os
import signal
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from bert_cn.model import pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.pretraining import (
    evaluation,
    input_pipeline,
    losses,
    train_loop,
    train_step,
)
from bert_cn.training import optimization, reporting, stop_request
from tests.bert_cn.records import LENGTH, PREDICTIONS


class Run:
    """A run on the default strategy, made the way run_pretraining makes it."""

    def __init__(self, config, record_files, folder, learning_rate=0.01, num_steps=12):
        keras.utils.set_random_seed(3)
        files = input_pipeline.check_files(
            (input_pipeline.FileGroup(tuple(record_files)),), LENGTH, PREDICTIONS
        )
        schedule = optimization.WarmupPolynomialDecay(learning_rate, num_steps, 2)
        self.model = pretraining_model.build_pretraining_model(config)
        self.optimizer = optimization.BertAdamW(schedule)
        self.optimizer.build(self.model.trainable_variables)
        self.trainer = train_step.Trainer(
            tf.distribute.get_strategy(), self.model, self.optimizer
        )
        self.checkpoints = checkpoints_lib.TrainingCheckpoints(
            self.model, self.optimizer, str(folder), max_to_keep=2
        )
        self.checkpoints.restore_latest()
        self.dataset = input_pipeline.build_train_dataset(
            files, 8, seed=5, skip_records=8 * self.trainer.step
        )
        self.reporter = reporting.StepReporter(
            str(folder / "log"),
            schedule,
            8,
            self.trainer.step,
            losses.LINE_METRICS,
        )
        self.cadence = train_loop.Cadence(num_steps, 4, 5, 6)
        self.eval_files = files

    def train(self) -> bool:
        with stop_request.StopRequest() as stop_requested:
            return train_loop.train(
                self.trainer,
                self.dataset,
                self.checkpoints,
                self.reporter,
                self.cadence,
                stop_requested,
            )

    def weights(self):
        return [variable.numpy() for variable in self.model.variables]


class Rehearsal:
    """A run without a model: what the loop does, when, by a clock of its own.

    Args:
        step: where it goes on.
        seconds: step -> how long that update takes.
        saved_step: of the newest checkpoint.
    """

    def __init__(self, monkeypatch, step=0, seconds=lambda step: 1, saved_step=None):
        self.step, self.latest_step, self.latest = step, saved_step, None
        self._seconds, self.now = seconds, 0.0
        self.calls, self.events = [], []
        self.seconds_since_report = 0.0
        self.stop_at = math.inf
        clock = types.SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(train_loop, "time", clock)

    def __bool__(self) -> bool:
        return self.step >= self.stop_at

    def train_steps(self, _, num_steps):
        self.calls.append(int(num_steps))
        for _ in range(int(num_steps)):
            self.step += 1
            self.now += self._seconds(self.step)
        sums = tf.zeros([losses.NUM_SUMS])
        return train_step.LoopResults(sums, num_steps, tf.constant(0.0))

    def agree(self, flag):
        return flag

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

    def run(self, *cadence, **arguments) -> bool:
        return train_loop.train(
            *(self, [], self, self, train_loop.Cadence(*cadence), self, self.evaluate),
            **arguments,
        )


def test_calls_grow_until_they_take_long_and_shrink_where_steps_do(monkeypatch):
    run = Rehearsal(monkeypatch, seconds=lambda step: 1 if step <= 31 else 10)
    assert run.run(50, 1000, 1000, 1000)
    # No more than 15 seconds: 8 of 1 second, 1 of 10.
    assert run.calls == [1, 2, 4, 8, 8, 8, 8, 4, 2, 1, 1, 1, 1, 1]
    run = Rehearsal(monkeypatch, seconds=lambda step: 0.001)
    assert run.run(30, 10, 1000, 1000)
    assert run.calls == [1, 2, 4, 8, 10, 5]


def test_checkpoints_come_by_minutes_too_and_once_each(monkeypatch):
    run = Rehearsal(monkeypatch, seconds=lambda step: 30)
    assert run.run(7, 10, 5, 100, 0, 1.0)
    assert run.events == ["save 2", "save 4", "save 5", "save 7"]
    run = Rehearsal(monkeypatch)
    run.stop_at = 5
    assert not run.run(10, 1, 5, 100)
    assert run.events == ["save 5"]
    # Stopped before its first step: what it goes on from is saved already.
    run = Rehearsal(monkeypatch, step=5, saved_step=5)
    run.stop_at = 5
    assert not run.run(10, 1, 5, 100)
    assert run.events == []


def test_evaluation_that_a_stop_or_kill_left_out_comes_first_on_resume(monkeypatch):
    cadence = (8, 10, 4, 100, 2)
    unbroken = Rehearsal(monkeypatch)
    assert unbroken.run(*cadence)
    assert unbroken.events == [
        "evaluate 2",
        "save 4",
        "evaluate 4",
        "evaluate 6",
        "save 8",
    ]
    stopped = Rehearsal(monkeypatch)
    stopped.stop_at = 4
    assert not stopped.run(*cadence)
    assert stopped.events == ["evaluate 2", "save 4"]
    resumed = Rehearsal(monkeypatch, step=4, saved_step=4)
    assert resumed.run(*cadence, evaluate_first=True)
    assert stopped.events + resumed.events == unbroken.events


def test_evaluation_that_is_stopped_leaves_nothing(tmp_path):
    run = evaluation.Evaluator(
        types.SimpleNamespace(step=3), ["batch"], 0, str(tmp_path), str(tmp_path), ""
    ).run
    assert not run(stop_requested=True)
    assert reporting.read_evaluated_step(str(tmp_path)) is None
    reporting.write_eval_results(str(tmp_path), {"loss": 2.5}, 3)
    assert reporting.read_evaluated_step(str(tmp_path)) == 3


def test_pauses_come_at_reports_checkpoints_and_the_end():
    cadence = train_loop.Cadence(12, 4, 5, 6)
    step, stops = 0, []
    while step < 12:
        step += cadence.steps_until_pause(step)
        stops.append(step)
    assert stops == [1, 5, 6, 10, 12]


def test_training_lowers_the_loss_and_reports_it(
    small_config, record_files, tmp_path, capsys
):
    run = Run(small_config, record_files, tmp_path, num_steps=60)
    dataset = input_pipeline.build_eval_dataset(run.eval_files, 8)
    before, records = evaluation.evaluate(run.trainer, dataset, 0)
    assert run.train()
    after, _ = evaluation.evaluate(run.trainer, dataset, 0)
    assert records == 40
    assert before["masked_lm_loss"] == pytest.approx(math.log(40), rel=0.05)
    assert after["masked_lm_loss"] < before["masked_lm_loss"] - 0.1
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0].startswith("step 1/60  loss ")
    assert lines[-1].startswith("step 60/60  loss ")
    # 40 labels, half of them 0; the masks of these records are seldom neighbours.
    assert before["next_sentence_majority"] == 0.5
    assert before["perplexity"] == pytest.approx(math.exp(before["masked_lm_loss"]))
    assert 0 <= before["masked_lm_accuracy_alone"] <= 1
    for part in ("masked_lm_accuracy", "next_sentence_accuracy", "sequences/s", "ETA"):
        assert part in lines[-1]


def test_evaluation_stops_after_max_steps(small_config, record_files, tmp_path):
    run = Run(small_config, record_files, tmp_path)
    dataset = input_pipeline.build_eval_dataset(run.eval_files, 8)
    assert evaluation.evaluate(run.trainer, dataset, 2)[1] == 16


def test_signal_saves_and_the_resumed_run_ends_with_the_same_weights(
    small_config, record_files, tmp_path
):
    unbroken = Run(small_config, record_files, tmp_path / "unbroken")
    assert unbroken.train()

    stopped = Run(small_config, record_files, tmp_path / "stopped")
    report = stopped.reporter.report

    def report_and_interrupt(step, *arguments):
        report(step, *arguments)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped.reporter.report = report_and_interrupt
    assert not stopped.train()
    assert stopped.trainer.step == 6

    resumed = Run(small_config, record_files, tmp_path / "stopped")
    assert resumed.trainer.step == 6
    assert resumed.train()
    for one, other in zip(unbroken.weights(), resumed.weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_wait_for_input_is_measured(small_config, record_files, tmp_path):
    run = Run(small_config, record_files, tmp_path)
    batches = run.dataset.take(5).cache()
    list(batches)

    def wait(batch):
        tf.py_function(lambda: time.sleep(0.05), [], [])
        return batch

    slow, quick = (
        float(run.trainer.train_steps(iter(dataset), tf.constant(5)).input_seconds)
        for dataset in (batches.map(wait), batches)
    )
    # One batch may be on its way before the clock starts.
    assert 0.15 < slow < 5
    assert 0 < quick < slow / 2


@pytest.mark.usefixtures("xla_for_cpus")
def test_update_compiled_by_xla_is_the_same(small_config, record_files, tmp_path):
    config = dataclasses.replace(
        small_config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    found = []
    for jit_compile in (False, True):
        run = Run(config, record_files, tmp_path / str(jit_compile))
        trainer = train_step.Trainer(
            tf.distribute.get_strategy(),
            run.model,
            run.optimizer,
            accumulation_steps=2,
            jit_compile=jit_compile,
        )
        compiled = isinstance(trainer._update, tf.types.experimental.GenericFunction)
        assert compiled == jit_compile
        results = trainer.train_steps(iter(run.dataset), tf.constant(8))
        found.append([results.sums.numpy(), *run.weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    small_config, record_files, tmp_path
):
    run = Run(small_config, record_files, tmp_path, num_steps=6)
    run.train()
    run.model.get_layer(pretraining_model.MLM_HEAD).bias.assign(np.full(40, np.nan))
    run.cadence = train_loop.Cadence(12, 4, 5, 6)
    saved = run.checkpoints.latest
    with pytest.raises(
        train_loop.NotFiniteError,
        match=f"not finite in step 7; .*--init_checkpoint={saved} starts from",
    ) as caught:
        run.train()
    assert caught.value.step == 7
    assert run.checkpoints.latest == saved
