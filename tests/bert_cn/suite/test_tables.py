"""Tables and bars, computed by hand."""

import csv
import dataclasses
import io

import pytest

from bert_cn.suite import plot, results, tables
from bert_cn.suite.baselines import Baseline

ROWS = [
    results.RowInfo("tiny", "tiny", "out/tiny", 3_200_000, False, True, False),
    results.RowInfo("tiny-random", "tiny", "random weights", 3_200_000, 0, 1, 0),
]
COLA = {"eval_accuracy": Baseline(69.127, 1043), "eval_matthews": Baseline(0.0, 1043)}
STS = {"eval_spearman": Baseline(None, 1500), "eval_pearson": Baseline(None, 1500)}


@pytest.fixture
def found(make_result):
    return [
        # Mean 73, deviation sqrt(2).
        make_result(
            "tiny", "cola", 1, {"eval_accuracy": 72, "eval_matthews": 10}, COLA, 1.0
        ),
        make_result(
            "tiny", "cola", 2, {"eval_accuracy": 74, "eval_matthews": 30}, COLA, 2.0
        ),
        make_result(
            "tiny", "sts-b", 1, {"eval_spearman": 25.0, "eval_pearson": 24.0}, STS
        ),
        # 69.13 is the majority class of CoLA's dev.
        make_result(
            "tiny-random",
            "cola",
            1,
            {"eval_accuracy": 69.1275, "eval_matthews": 0.0},
            COLA,
        ),
    ]


def test_the_table_has_models_by_tasks_and_the_majority_below(found):
    text = tables.format_markdown(ROWS, found, results.summarize(found), ["A note."])
    lines = text.splitlines()
    assert lines[:7] == [
        "## GLUE",
        "",
        "| Model | Score | CoLA (accuracy / Matthews) | STS-B (Spearman) |",
        "| :-- | --: | --: | --: |",
        "| tiny | 49.00 | 73.00 ± 1.41 / 20.00 ± 14.14 | 25.00 |",
        "| tiny-random | – | 69.13† / 0.00† | – |",
        "| majority class | – | 69.13 / 0.00 | – |",
    ]
    assert "- A note." in lines
    assert "- `bert_cn.run_classifier --learning_rate=2e-5`" in lines
    assert (
        "- tiny: out/tiny, 3.2 million parameters; English texts lower-cased (the "
        "vocabulary has no token with A-Z), Chinese ones with their case."
    ) in lines
    assert (
        "| cola | accuracy, dev | 1043 | 73.00 ± 1.41 | 69.13† | 69.13 | 2, 1 | "
        "1.5, 1.0 |"
    ) in lines


def test_runs_of_different_recipes_are_told_apart(make_result):
    values = {"eval_accuracy": 60.0, "eval_matthews": 0.0}
    first = make_result("a", "cola", 1, values, COLA)
    second = make_result("b", "cola", 1, values, COLA)
    second.identity["flags"] = ["--learning_rate=1e-4", "--do_lower_case=True"]
    rows = [results.RowInfo(name, name, name, 1, 0, 1, 0) for name in "ab"]
    text = tables.format_markdown(
        rows, [first, second], results.summarize([first, second]), []
    )
    assert "- `bert_cn.run_classifier --learning_rate=2e-5` for a cola\n" in text
    assert "- `bert_cn.run_classifier --learning_rate=1e-4` for b cola\n" in text


@pytest.mark.parametrize(
    ("key", "mean", "majority", "count", "has_signal"),
    [
        ("eval_accuracy", 68.39, 68.3824, 408, False),
        ("eval_accuracy", 43.66, 56.34, 71, False),
        # 1.96 sqrt(.6838 .3162 / 408) is 4.51 percent.
        ("eval_accuracy", 72.88, 68.3824, 408, False),
        ("eval_accuracy", 72.90, 68.3824, 408, True),
        # 1.96 / sqrt(1500 - 1) is 5.06 percent.
        ("eval_spearman", 5.06, None, 1500, False),
        ("eval_spearman", 5.08, None, 1500, True),
        ("eval_unseen_matthews", 6.0, 0.0, 1043, False),
        ("eval_unseen_matthews", 6.1, 0.0, 1043, True),
        # A model that never gives an answer is never right by chance.
        ("eval_f1", 0.01, 0.0, 3219, True),
        ("eval_f1", 0.0, 0.0, 3219, False),
        ("eval_accuracy", 100.0, 0.0, 1, False),
    ],
)
def test_signal_is_what_chance_does_not_reach(
    make_result, key, mean, majority, count, has_signal
):
    baselines = {key: Baseline(majority, count)}
    result = make_result("tiny", "cola", 1, {key: mean}, baselines)
    (figure,) = results.summarize([result]).values()
    assert figure.has_signal == has_signal


def test_the_csv_has_a_line_for_each_figure(found):
    text = tables.format_csv(ROWS, results.summarize(found))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 6
    assert lines[0] == {
        "model": "tiny",
        "random_weights": "0",
        "group": "GLUE",
        "task": "cola",
        "figure": "accuracy, dev",
        "examples": "1043",
        "mean": "73.0000",
        "standard_deviation": "1.4142",
        "seeds": "2",
        "majority_class": "69.1270",
        "has_signal": "1",
        "minutes_per_run": "1.50",
    }
    assert (lines[-1]["standard_deviation"], lines[-1]["has_signal"]) == ("", "0")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("eval_accuracy", "accuracy, dev"),
        ("eval_2_accuracy", "accuracy, dev (mismatched)"),
        ("test_unseen_f1", "f1, test, unseen"),
    ],
)
def test_keys_are_put_into_words(key, words):
    assert tables.describe_key(key) == words


def test_bars_are_as_high_as_the_figures(found):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figures = results.summarize(found)
    canvas, axis = plt.subplots()
    clusters = [
        plot.Cluster("CoLA", "cola", "eval_accuracy"),
        plot.Cluster("STS-B", "sts-b", "eval_spearman"),
    ]
    plot.draw_panel(axis, clusters, ROWS, figures)
    heights = {
        bars.get_label(): [bar.get_height() for bar in bars.patches]
        for bars in axis.containers
        if hasattr(bars, "patches")
    }
    plt.close(canvas)
    assert heights == {
        "tiny": [73.0, 25.0],
        "tiny-random": [69.1275],
        "majority class": [69.127],
    }


@pytest.fixture
def folder(found, tmp_path, row):
    """A suite's folder with one row and two finished runs."""
    results.write_row(str(tmp_path), row, "out/tiny")
    for result in found[:2]:
        place = tmp_path / "tiny" / result.task / f"seed_{result.seed}"
        place.mkdir(parents=True)
        results.write_result(str(place), result)
    return str(tmp_path)


def test_results_are_read_back(found, folder):
    rows, read = results.read_all(folder)
    assert rows == [dataclasses.replace(ROWS[0], sha256="abc")]
    assert read == found[:2]


def test_results_of_other_weights_are_left_out(row, folder):
    # Overwritten by another checkpoint, whose runs are not made yet.
    results.write_row(folder, dataclasses.replace(row, sha256="x"), "out/tiny")
    assert results.read_all(folder)[1] == []


def test_tables_and_plot_are_written(folder):
    rows, read = results.read_all(folder)
    paths = tables.write_tables(folder, rows, read, [])
    assert [path.rsplit("/")[-1] for path in paths] == ["table.md", "table.csv"]
    picture = plot.write_plot(folder, rows, read)
    assert open(picture, "rb").read(8) == b"\x89PNG\r\n\x1a\n"
