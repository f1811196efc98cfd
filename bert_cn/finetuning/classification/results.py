"""The metrics of a classifier, and its file of predictions."""

import abc
from collections.abc import Sequence

import numpy as np
import scipy.special

from bert_cn.finetuning import metrics, results, tables
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import model, tasks


class SplitReporter(results.Reporter):
    """Compares one number for each text or pair with its label.

    Its data are `classification.data.Split`s. Metrics called unseen_... leave out the
    examples that the training file also holds.

    Attributes:
        names: some of `metrics.METRICS`.
        main_names: those of `names` that decide, by their mean.
    """

    names: Sequence[str]
    main_names: Sequence[str]

    @property
    def main_metric(self) -> str:
        """The metric that decides which weights are best."""
        return metrics.main_name(self.main_names)

    @abc.abstractmethod
    def decide(self, outputs: results.Outputs) -> np.ndarray:
        """Return class ids, int [rows], or scores, float [rows]."""

    def compute(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> dict[str, float]:
        """Return the metrics of a split."""
        return self._compare(data.labels, self.decide(outputs))

    def compute_more(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> dict[str, float]:
        """Return the metrics of the examples that the training file does not hold."""
        train = self._data.get(tables.TRAIN)
        if train is None:
            return {}
        unseen = classification_data.find_unseen(data, train.table)
        if unseen.all() or unseen.sum() < 2:
            return {}
        print(
            f"{data.path}: {(~unseen).sum()} of {len(unseen)} {self.noun} stand word "
            f"for word in {train.path}; unseen_... leaves them out."
        )
        values = self._compare(data.labels[unseen], self.decide(outputs)[unseen])
        return {f"unseen_{key}": value for key, value in values.items()}

    def _compare(self, labels: np.ndarray, decided: np.ndarray) -> dict[str, float]:
        return metrics.compute(self.names, self.main_names, labels, decided)


class Reporter(SplitReporter):
    """Measures a classifier.

    Args:
        task: says what is measured.
        labels: what is predicted.
        *measured: see `results.Reporter`.
    """

    def __init__(self, task: tasks.Task, labels: model.Labels, *measured):
        super().__init__(*measured)
        self.names, self.main_names = task.metrics, task.main_metrics
        self._labels = labels

    def decide(self, outputs: results.Outputs) -> np.ndarray:
        """Return class ids, int [rows], or scores, float [rows]."""
        logits = outputs[model.LOGITS]
        return logits[:, 0] if self._labels.is_regression else logits.argmax(axis=1)

    def compute(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> dict[str, float]:
        """Return the metrics of a split, and its mean loss."""
        loss = float(outputs[model.LOSS].mean())
        return {**super().compute(data, outputs), "loss": loss}

    def list_predictions(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> list[str]:
        """Return rows of index, prediction and the probability of each class."""
        names, indices = self._labels.names, data.table.indices
        header = "\t".join(["index", "prediction", *names])
        decided = self.decide(outputs)
        if self._labels.is_regression:
            pairs = zip(indices, decided, strict=True)
            return [header, *(f"{index}\t{value:.6f}" for index, value in pairs)]
        logits = outputs[model.LOGITS].astype(np.float64)
        shares = scipy.special.softmax(logits, axis=1)
        rows = [
            "\t".join([str(index), names[best], *(f"{share:.6f}" for share in row)])
            for index, best, row in zip(indices, decided, shares, strict=True)
        ]
        return [header, *rows]
