"""What sentence embeddings are measured by, and the file of predictions."""

import os

import numpy as np

from bert_cn.finetuning import batches, metrics, output_folder, training
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.sentences import model
from data_prep import storage

_PREFIXES = {tasks.DEV: "eval"}
_METRICS = (metrics.SPEARMAN, metrics.PEARSON)


class Reporter:
    """Measures cosines against scores on the splits of a run.

    Args:
        trainer: whose learner is a `SentenceEncoder`'s.
        data: split name -> pairs and scores.
        features: split name -> features.
        output_dir: for predictions.
    """

    def __init__(
        self,
        trainer: training.Trainer,
        data: dict[str, classification_data.Split],
        features: dict[str, features_lib.Features],
        output_dir: str,
    ):
        self.main_metric = metrics.SPEARMAN
        self._trainer = trainer
        self._data = data
        self._features = features
        self._output_dir = output_dir

    def measure(self, name: str, shape: batches.Shape) -> dict[str, float]:
        """Return the correlations of one split."""
        return _correlate(self._data[name].labels, self._compute_cosines(name, shape))

    def report(
        self, name: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure a split, print, and return the values as eval_... or test_....

        Args:
            name: of the split.
            shape: of the batches.
            with_predictions: whether to write the cosines; a file without scores is
                fine then.
        """
        data = self._data[name]
        cosines = self._compute_cosines(name, shape)
        if with_predictions:
            self._write_predictions(name, data.table.indices, cosines)
        if data.labels is None:
            return {}
        values = _correlate(data.labels, cosines) | self._measure_unseen(data, cosines)
        print(f"{data.table.path}, {len(data.table)} pairs:")
        for key, value in values.items():
            print(f"  {key} = {value:.4f}", flush=True)
        return {f"{_PREFIXES.get(name, name)}_{k}": v for k, v in values.items()}

    def _measure_unseen(
        self, data: classification_data.Split, cosines
    ) -> dict[str, float]:
        """Measure again without the pairs that the training file holds too."""
        train = self._data.get(tasks.TRAIN)
        if train is None:
            return {}
        unseen = classification_data.find_unseen(data, train.table)
        if unseen.all() or unseen.sum() < 2:
            return {}
        print(
            f"{data.table.path}: {(~unseen).sum()} of {len(unseen)} pairs stand word "
            f"for word in {train.table.path}; unseen_... leaves them out."
        )
        values = _correlate(data.labels[unseen], cosines[unseen])
        return {f"unseen_{key}": value for key, value in values.items()}

    def _compute_cosines(self, name: str, shape: batches.Shape) -> np.ndarray:
        outputs = training.predict(self._trainer, self._features[name], shape, name)
        return outputs[model.COSINE]

    def _write_predictions(self, name: str, indices, cosines: np.ndarray) -> None:
        path = os.path.join(self._output_dir, output_folder.TABLE_FILE.format(name))
        pairs = zip(indices, cosines, strict=True)
        rows = [f"{index}\t{value:.6f}\n" for index, value in pairs]
        with storage.open(path + ".tmp", "w") as file:
            file.write("".join(["index\tcosine\n", *rows]))
        storage.rename(path + ".tmp", path, overwrite=True)
        print(f"Predictions: {path}", flush=True)


def _correlate(scores: np.ndarray, cosines: np.ndarray) -> dict[str, float]:
    return metrics.compute(_METRICS, _METRICS[:1], scores, cosines)
