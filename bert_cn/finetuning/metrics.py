"""What GLUE measures, by scikit-learn and scipy."""

import collections
from collections.abc import Sequence

import numpy as np
import scipy.stats
import sklearn.metrics

ACCURACY = "accuracy"
F1 = "f1"
MACRO_F1 = "macro_f1"
MATTHEWS = "matthews"
PEARSON = "pearson"
SPEARMAN = "spearman"
# Mean of several main metrics, as GLUE averages them.
SCORE = "score"
# Accuracy of always answering with the most frequent class.
MAJORITY = "majority_accuracy"


def _f1(labels, predictions) -> float:
    # Class 1 is the positive one. Without any prediction of it F1 is 0.
    return sklearn.metrics.f1_score(labels, predictions, zero_division=0)


def _macro_f1(labels, predictions) -> float:
    return sklearn.metrics.f1_score(
        labels, predictions, average="macro", zero_division=0
    )


def _correlate(correlate, labels, predictions) -> float:
    # Undefined where one side is constant; a model that always says the same has
    # earned nothing.
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    labels, predictions = np.float64(labels), np.float64(predictions)
    return float(correlate(labels, predictions).statistic)


def _matthews(labels, predictions) -> float:
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    return sklearn.metrics.matthews_corrcoef(labels, predictions)


def _pearson(labels, predictions) -> float:
    return _correlate(scipy.stats.pearsonr, labels, predictions)


def _spearman(labels, predictions) -> float:
    return _correlate(scipy.stats.spearmanr, labels, predictions)


METRICS = {
    ACCURACY: sklearn.metrics.accuracy_score,
    F1: _f1,
    MACRO_F1: _macro_f1,
    MATTHEWS: _matthews,
    PEARSON: _pearson,
    SPEARMAN: _spearman,
}


def compute(
    names: Sequence[str],
    main_names: Sequence[str],
    labels: np.ndarray,
    predictions: np.ndarray,
) -> dict[str, float]:
    """Measure predictions.

    Args:
        names: of `METRICS`.
        main_names: those that decide; the mean of several is added as "score".
        labels: class ids, int [examples], or scores, float [examples].
        predictions: likewise.

    Returns:
        Name -> value, shares and not percent; for classes with the accuracy of the
        majority class beside it.
    """
    values = {name: float(METRICS[name](labels, predictions)) for name in names}
    if len(main_names) > 1:
        values[SCORE] = float(np.mean([values[name] for name in main_names]))
    if np.issubdtype(labels.dtype, np.integer):
        most = collections.Counter(labels.tolist()).most_common(1)[0][1]
        values[MAJORITY] = most / len(labels)
    return values


def main_name(main_names: Sequence[str]) -> str:
    """Return the name of the value that decides."""
    return SCORE if len(main_names) > 1 else main_names[0]
