"""What a classifier is measured by, and the files that say it."""

import os

import numpy as np
import scipy.special

from bert_cn.finetuning import batches, metrics, output_folder, training
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import model, tasks
from data_prep import storage

_PREFIXES = {tasks.DEV: "eval"}


class Reporter:
    """Measures a classifier on the splits of a run.

    Args:
        trainer: whose learner is a classifier's.
        task: says what is measured.
        labels: says what is predicted.
        data: split name -> rows and labels.
        features: split name -> features.
        output_dir: for predictions.
    """

    def __init__(
        self,
        trainer: training.Trainer,
        task: tasks.Task,
        labels: model.Labels,
        data: dict[str, classification_data.Split],
        features: dict[str, features_lib.Features],
        output_dir: str,
    ):
        self.main_metric = metrics.main_name(task.main_metrics)
        self._task = task
        self._trainer = trainer
        self._labels = labels
        self._data = data
        self._features = features
        self._output_dir = output_dir

    def measure(self, name: str, shape: batches.Shape) -> dict[str, float]:
        """Return the metrics of one split, and its loss."""
        outputs = training.predict(self._trainer, self._features[name], shape, name)
        return self._compute(self._data[name], outputs)

    def report(
        self, split: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure all files of a split, print, and return Google's keys (eval_...).

        Args:
            split: dev or test.
            shape: of the batches.
            with_predictions: whether to write them; files without labels are fine then.
        """
        results = {}
        for name in (split, f"{split}_2"):
            if name not in self._data:
                continue
            data = self._data[name]
            outputs = training.predict(self._trainer, self._features[name], shape, name)
            if with_predictions:
                logits = outputs[model.LOGITS]
                self._write_predictions(name, data.table.indices, logits)
            if data.labels is None:
                continue
            values = self._compute(data, outputs) | self._compute_unseen(data, outputs)
            prefix = _PREFIXES.get(split, split) + name.removeprefix(split)
            results |= {f"{prefix}_{key}": value for key, value in values.items()}
            print(f"{data.table.path}, {len(data.table)} examples:")
            for key, value in values.items():
                print(f"  {key} = {value:.4f}", flush=True)
        return results

    def _compute(self, data: classification_data.Split, outputs) -> dict[str, float]:
        values = metrics.compute(
            self._task.metrics,
            self._task.main_metrics,
            data.labels,
            self._decide(outputs[model.LOGITS]),
        )
        return {**values, "loss": float(outputs[model.LOSS].mean())}

    def _compute_unseen(
        self, data: classification_data.Split, outputs
    ) -> dict[str, float]:
        """Measure again without the examples that the training file holds too."""
        train = self._data.get(tasks.TRAIN)
        if train is None:
            return {}
        unseen = classification_data.find_unseen(data, train.table)
        if unseen.all() or unseen.sum() < 2:
            return {}
        print(
            f"{data.table.path}: {(~unseen).sum()} of {len(unseen)} examples stand "
            f"word for word in {train.table.path}; unseen_... leaves them out."
        )
        values = metrics.compute(
            self._task.metrics,
            self._task.main_metrics,
            data.labels[unseen],
            self._decide(outputs[model.LOGITS][unseen]),
        )
        return {f"unseen_{key}": value for key, value in values.items()}

    def _decide(self, logits: np.ndarray) -> np.ndarray:
        return logits[:, 0] if self._labels.is_regression else logits.argmax(axis=1)

    def _write_predictions(self, name: str, indices, logits: np.ndarray) -> None:
        decided = self._decide(logits)
        path = os.path.join(self._output_dir, output_folder.TABLE_FILE.format(name))
        rows = ["\t".join(["index", "prediction", *self._labels.names])]
        if self._labels.is_regression:
            pairs = zip(indices, decided, strict=True)
            rows += [f"{index}\t{value:.6f}" for index, value in pairs]
        else:
            names = self._labels.names
            shares = scipy.special.softmax(logits.astype(np.float64), axis=1)
            rows += [
                "\t".join([str(i), names[best], *(f"{share:.6f}" for share in row)])
                for i, best, row in zip(indices, decided, shares, strict=True)
            ]
        with storage.open(path + ".tmp", "w") as file:
            file.write("\n".join(rows) + "\n")
        storage.rename(path + ".tmp", path, overwrite=True)
        print(f"Predictions: {path}", flush=True)
