import math

import pytest
import tensorflow as tf

from bert_cn.training import schedules


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so: a list with one number."""
    now = [1000.0]
    monkeypatch.setattr(schedules.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (5, 0.5), (9, 0.9), (10, 0.9), (50, 0.5), (100, 0.0), (120, 0.0)],
)
def test_schedule_warms_up_then_decays_to_zero(step, rate):
    # Google decays from step 0, so the peak is not quite reached: 0.9 after warm-up.
    schedule = schedules.WarmupSchedule(1.0, 100, 10)
    assert float(schedule(step)) == pytest.approx(rate, abs=1e-6)


def test_power_bends_the_decay():
    schedule = schedules.WarmupSchedule(1.0, 100, 10, power=2.0)
    assert float(schedule(50)) == pytest.approx(0.25)


def test_no_warmup_starts_at_the_peak():
    schedule = schedules.WarmupSchedule(2.0, 100, 0)
    assert float(schedule(0)) == 2.0


@pytest.mark.parametrize(
    ("kind", "rates"),
    [
        ("linear", {5: 0.5, 10: 1.0, 55: 0.5, 100: 0.0}),
        ("cosine", {5: 0.5, 10: 1.0, 55: 0.5, 100: 0.0}),
        ("triangle", {0: 0.0, 10: 0.55, 25: 1.0, 55: 0.6, 100: 0.0}),
        ("wsd", {5: 0.5, 10: 1.0, 79: 1.0, 90: 1 - math.sqrt(0.5), 100: 0.0}),
    ],
)
def test_each_kind_of_schedule_has_its_curve(kind, rates):
    schedule = schedules.WarmupSchedule(1.0, 100, 10, kind=kind)
    found = {step: float(schedule(step)) for step in rates}
    assert found == pytest.approx(rates, abs=1e-6)


def test_rate_of_a_run_by_time_reaches_zero_at_that_time(clock):
    budget = schedules.TimeBudget(minutes=2.0)
    schedule = schedules.WarmupSchedule(1.0, 7, 0, time_budget=budget)
    budget.start()
    assert schedule.is_estimate
    assert schedule.last_step(0) == 1  # Nothing is known but that there is time.
    clock[0] += 30.0
    budget.note(10, budget.read(), 3.0)
    assert float(schedule(10)) == pytest.approx(0.75)
    # Between two calls of the host the rate falls with each update.
    assert float(schedule(20)) == pytest.approx(0.5)
    assert schedule.last_step(10) == 40
    clock[0] += 90.5
    budget.note(40, budget.read(), 3.0)
    assert float(schedule(40)) == 0.0
    assert schedule.last_step(40) == 40


def test_warmup_of_a_run_by_time_counts_steps(clock):
    budget = schedules.TimeBudget(minutes=1.0)
    schedule = schedules.WarmupSchedule(1.0, 7, 4, kind="linear", time_budget=budget)
    budget.start()
    clock[0] += 2.0
    budget.note(2, budget.read(), 1.5)
    assert float(schedule(2)) == 0.5
    # 4 steps are a tenth of the time; half of it is over at step 20 or so.
    clock[0] += 28.0
    budget.note(20, budget.read(), 1.5)
    assert float(schedule(20)) == pytest.approx(0.5 / 0.9)


def test_resumed_run_continues_with_the_time_of_its_checkpoint(clock, tmp_path):
    budget = schedules.TimeBudget(minutes=1.0)
    budget.start()
    clock[0] += 15.0
    budget.note(5, budget.read(), 3.0)
    path = tf.train.Checkpoint(time_budget=budget).write(str(tmp_path / "ckpt"))
    clock[0] += 3600.0  # The machine was away.
    resumed = schedules.TimeBudget(minutes=1.0)
    tf.train.Checkpoint(time_budget=resumed).read(path).assert_consumed()
    resumed.start()
    assert resumed.count_steps_left() == 15
    clock[0] += 15.0
    assert resumed.read() == pytest.approx(0.5)
