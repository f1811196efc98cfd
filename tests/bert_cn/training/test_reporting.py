import math

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from bert_cn.pretraining import losses
from bert_cn.training import reporting, schedules

METRICS = {
    "loss": 3.0,
    "masked_lm_loss": 2.5,
    "masked_lm_accuracy": 0.25,
    "next_sentence_loss": 0.5,
    "next_sentence_accuracy": 0.75,
}
ACCURACIES = ("next_sentence_accuracy", "sentence_order_accuracy")
PANELS = (("loss",), ("masked_lm_accuracy",), ("learning_rate",), ACCURACIES)


def build_reporter(folder, schedule, step):
    return reporting.StepReporter(
        str(folder), schedule, 32, step, losses.describe_metrics
    )


def test_step_line_has_step_metrics_rate_and_eta(tmp_path, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    schedule = schedules.WarmupSchedule(1e-3, 100, 10)
    reporter = build_reporter(tmp_path, schedule, step=10)
    now[0] = 110.0
    reporter.report(30, METRICS, input_seconds=0.4)
    # The time left is not known in the first interval, which may hold a compilation.
    assert capsys.readouterr().out == (
        "30/100  loss 3.00  mlm 25.0%  nsp 75%  lr 7.1e-04  64 seq/s\n"
    )
    now[0] = 115.0
    reporter.report(40, METRICS | {"masked_lm_majority": 0.139}, input_seconds=0.0)
    assert capsys.readouterr().out == (
        "40/100  loss 3.00  mlm 25.0% (unigram 13.9)  nsp 75%  64 seq/s  00:30 left\n"
    )
    scalars = reporting.read_scalars(str(tmp_path))
    assert scalars["input_wait_ms_per_step"] == pytest.approx({30: 20.0, 40: 0.0})
    assert scalars["input_wait_share"] == pytest.approx({30: 0.04, 40: 0.0})


def test_long_step_line_leaves_the_rate_out(tmp_path, capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    schedule = schedules.WarmupSchedule(1e-3, 1_200_000, 10)
    reporter = build_reporter(tmp_path, schedule, step=99_990)
    for step in (99_995, 100_000):
        now[0] += 0.262
        metrics = METRICS | {"masked_lm_majority": 0.139}
        reporter.report(step, metrics, input_seconds=math.nan)
    line = capsys.readouterr().out.splitlines()[1]
    assert line == (
        "100,000/1,200,000  loss 3.00  mlm 25.0% (unigram 13.9)  nsp 75%  611 seq/s"
        "  16:00:40 left"
    )


def test_evaluation_between_lines_counts_its_steps_but_not_its_time(
    tmp_path, capsys, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    schedule = schedules.WarmupSchedule(1e-3, 400, 10)
    reporter = build_reporter(tmp_path, schedule, step=0)
    now[0] += 100.0
    reporter.report(100, METRICS, input_seconds=0.0)
    now[0] += 95.0
    with reporter.stop_clock():  # After step 195.
        now[0] += 50.0
    assert reporter.seconds_since_report == 95.0
    now[0] += 5.0
    reporter.report(200, METRICS, input_seconds=10.0)
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].endswith("  32 seq/s  03:20 left")
    assert captured.err == ""  # A tenth of the time is no reason to warn.
    scalars = reporting.read_scalars(str(tmp_path))
    assert scalars["input_wait_share"] == pytest.approx({100: 0.0, 200: 0.1})


def test_waiting_for_input_is_warned_of_when_it_begins(tmp_path, capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    schedule = schedules.WarmupSchedule(1e-3, 100, 10)
    reporter = build_reporter(tmp_path, schedule, step=0)
    warned = []
    # The first batch takes long to come; a TPU's waits are unknown.
    for step, waited in ((1, 9.0), (2, 1.9), (3, 2.1), (4, 5.0), (5, 0), (6, math.nan)):
        now[0] += 10.0
        reporter.report(step, METRICS, waited)
        captured = capsys.readouterr()
        warned.append(captured.err)
    assert warned[2].startswith(
        "warning: from step 2 to 3 training waited for input 21% of the time: put "
    )
    assert warned[:2] + warned[3:] == [""] * 5


def test_eval_results_have_googles_keys(tmp_path):
    path = reporting.write_eval_results(str(tmp_path), METRICS, step=1000)
    lines = (tmp_path / "eval_results.txt").read_text().splitlines()
    assert path == str(tmp_path / "eval_results.txt")
    assert lines == [
        "global_step = 1000",
        "loss = 3.0",
        "masked_lm_accuracy = 0.25",
        "masked_lm_loss = 2.5",
        "next_sentence_accuracy = 0.75",
        "next_sentence_loss = 0.5",
    ]


def write_losses(folder, losses: dict[int, float]) -> None:
    writer = tf.summary.create_file_writer(str(folder))
    for step, loss in losses.items():
        reporting.write_scalars(writer, {"loss": loss}, step)
    writer.close()


def test_curves_continue_when_a_run_is_resumed(tmp_path):
    write_losses(tmp_path / "train", {1: 9.0, 2: 8.0, 3: 7.0})
    write_losses(tmp_path / "train", {3: 6.0, 4: 5.0})
    scalars = reporting.read_scalars(str(tmp_path / "train"))
    assert scalars["loss"] == pytest.approx({1: 9.0, 2: 8.0, 3: 6.0, 4: 5.0})
    png = tmp_path / "curves.png"
    assert reporting.draw_curves({"train": str(tmp_path / "train")}, str(png), PANELS)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_samples_are_text_beside_the_scalars(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    reporting.write_scalars(writer, {"sentence_order_accuracy": 0.5}, 3)
    path = reporting.write_samples(writer, str(tmp_path), "| a |\n|---|", 3)
    with open(path, encoding="utf-8") as file:
        first, *table = file.read().split("\n\n")
    assert first.startswith("Step 3. [token ✓] was predicted;")
    assert table == ["| a |\n|---|\n"]
    scalars = reporting.read_scalars(str(tmp_path))
    assert scalars == {"sentence_order_accuracy": {3: 0.5}}
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    (text,) = events.Tensors("sample_fillings")
    assert tf.make_ndarray(text.tensor_proto) == b"| a |\n|---|"
    assert reporting.draw_curves(
        {"eval": str(tmp_path)}, str(tmp_path / "a.png"), PANELS
    )


def test_nothing_to_draw_writes_no_picture(tmp_path):
    png = tmp_path / "curves.png"
    assert not reporting.draw_curves(
        {"train": str(tmp_path / "none")}, str(png), PANELS
    )
    assert not png.exists()
