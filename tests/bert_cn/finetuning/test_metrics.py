import math

import numpy as np
import pytest

from bert_cn.finetuning import metrics

LABELS = np.array([1, 1, 1, 0, 0])
PREDICTIONS = np.array([1, 1, 0, 0, 1])


def test_classes_are_measured_as_counted_by_hand():
    # True positives 2, false positives 1, false negatives 1, true negatives 1.
    values = metrics.compute(
        ("accuracy", "f1", "matthews", "macro_f1"),
        ("accuracy", "f1"),
        LABELS,
        PREDICTIONS,
    )
    assert values == pytest.approx(
        {
            "accuracy": 3 / 5,
            "f1": 2 / 3,
            "matthews": (2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2),
            "macro_f1": (2 / 3 + 1 / 2) / 2,
            "score": (3 / 5 + 2 / 3) / 2,
            "majority_accuracy": 3 / 5,
        }
    )
    assert metrics.main_name(("accuracy", "f1")) == "score"
    assert metrics.main_name(("matthews",)) == "matthews"


def test_scores_are_correlated_as_counted_by_hand():
    values = metrics.compute(
        ("pearson", "spearman"),
        ("pearson", "spearman"),
        np.array([0.0, 1.0, 2.0, 3.0]),
        np.array([0.0, 1.0, 9.0, 2.0]),
    )
    # Deviations of labels -1.5 -0.5 0.5 1.5, of predictions -3 -2 6 -1.
    pearson = (4.5 + 1 + 3 - 1.5) / math.sqrt(5 * 50)
    # Two ranks differ by 1: 1 - 6 * 2 / (4 * 15).
    assert values == pytest.approx(
        {"pearson": pearson, "spearman": 0.8, "score": (pearson + 0.8) / 2}
    )


def test_always_the_same_answer_has_no_correlation():
    names = ("pearson", "spearman")
    values = metrics.compute(names, names, np.array([0.0, 1.0]), np.array([2.0, 2.0]))
    assert values["pearson"] == values["spearman"] == 0
    classes = metrics.compute(
        ("matthews", "f1"), ("matthews",), LABELS, np.zeros_like(LABELS)
    )
    assert classes["matthews"] == classes["f1"] == 0


@pytest.mark.filterwarnings("error")
def test_a_single_class_and_a_collapsed_regression_are_measured_without_a_warning():
    same = np.zeros(3, np.int32)
    assert metrics.compute(("matthews",), ("matthews",), same, same)["matthews"] == 0
    nearly = np.array([0.5, 0.5, 0.5, 0.50000006], np.float32)
    labels = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert np.isfinite(
        metrics.compute(("pearson",), ("pearson",), labels, nearly)["pearson"]
    )
