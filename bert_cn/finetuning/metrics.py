"""GLUE's metrics, computed by scikit-learn and SciPy.

Both libraries are imported where they compute: they take a second, and the table of
data sets, which --help shows, needs only the names of the metrics.
"""

import collections
from collections.abc import Sequence

import numpy as np

ACCURACY = "accuracy"
F1 = "f1"
MACRO_F1 = "macro_f1"
MATTHEWS = "matthews"
PEARSON = "pearson"
SPEARMAN = "spearman"
# The mean of several main metrics, as GLUE averages them.
SCORE = "score"
# The accuracy of always giving the majority class.
MAJORITY = "majority_accuracy"


def _accuracy(labels, predictions) -> float:
    import sklearn.metrics

    return sklearn.metrics.accuracy_score(labels, predictions)


def _f1(labels, predictions) -> float:
    import sklearn.metrics

    # Class 1 is the positive one. If it is never predicted, F1 is 0.
    return sklearn.metrics.f1_score(labels, predictions, zero_division=0)


def _macro_f1(labels, predictions) -> float:
    import sklearn.metrics

    return sklearn.metrics.f1_score(
        labels, predictions, average="macro", zero_division=0
    )


def _matthews(labels, predictions) -> float:
    import sklearn.metrics

    if _is_constant(labels, predictions):
        return 0.0
    return sklearn.metrics.matthews_corrcoef(labels, predictions)


def _pearson(labels, predictions) -> float:
    import scipy.stats

    if _is_constant(labels, predictions):
        return 0.0
    labels, predictions = np.float64(labels), np.float64(predictions)
    return scipy.stats.pearsonr(labels, predictions).statistic


def _spearman(labels, predictions) -> float:
    import scipy.stats

    if _is_constant(labels, predictions):
        return 0.0
    labels, predictions = np.float64(labels), np.float64(predictions)
    return scipy.stats.spearmanr(labels, predictions).statistic


def _is_constant(labels, predictions) -> bool:
    """Say whether a side is constant, so that they have no correlation: it counts 0."""
    return np.ptp(labels) == 0 or np.ptp(predictions) == 0


METRICS = {
    ACCURACY: _accuracy,
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
        predictions: of the same kind and shape.

    Returns:
        Name -> value, shares and not percent; for classes also the accuracy of the
        majority class.
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
