"""What a tagger is measured by, and the file of its predictions."""

import os

import numpy as np
import seqeval.metrics

from bert_cn.finetuning import batches, output_folder, training
from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning.classification import tasks
from bert_cn.finetuning.tagging import data as tagging_data
from bert_cn.finetuning.tagging import model
from data_prep import storage

F1 = "f1"
_PREFIXES = {tasks.DEV: "eval"}


class Reporter:
    """Measures a tagger on the splits of a run.

    Args:
        trainer: whose learner is a tagger's.
        labels: names of the classes.
        data: split name -> sentences.
        features: split name -> features.
        output_dir: for predictions.
    """

    def __init__(
        self,
        trainer: training.Trainer,
        labels: tuple[str, ...],
        data: dict[str, tagging_data.Sentences],
        features: dict[str, features_lib.Features],
        output_dir: str,
    ):
        self.main_metric = F1
        self._trainer = trainer
        self._labels = labels
        self._data = data
        self._features = features
        self._output_dir = output_dir

    def measure(self, name: str, shape: batches.Shape) -> dict[str, float]:
        """Return the metrics of one split, and the loss of a word."""
        outputs, tags = self._predict(name, shape)
        return _compute(self._data[name].tags, tags, outputs)

    def report(
        self, name: str, shape: batches.Shape, with_predictions: bool
    ) -> dict[str, float]:
        """Measure a split, print, and return the values as eval_... or test_....

        Args:
            name: of the split.
            shape: of the batches.
            with_predictions: whether to write the tags; a file without tags is fine
                then.
        """
        data = self._data[name]
        outputs, tags = self._predict(name, shape)
        if with_predictions:
            self._write_predictions(name, tags)
        if data.tags is None:
            return {}
        values = _compute(data.tags, tags, outputs)
        print(f"{data.path}, {len(data)} sentences:")
        for key, value in values.items():
            print(f"  {key} = {value:.4f}")
        print(_make_table(data.tags, tags), flush=True)
        return {f"{_PREFIXES.get(name, name)}_{k}": v for k, v in values.items()}

    def _predict(self, name: str, shape: batches.Shape):
        """Return the outputs, and a tag for each word."""
        features = self._features[name]
        outputs = training.predict(self._trainer, features, shape, name)
        tags = tagging_data.decode_tags(
            features,
            outputs[model.CLASS],
            self._data[name].words,
            self._labels,
        )
        return outputs, tags

    def _write_predictions(self, name: str, tags: list[list[str]]) -> None:
        data = self._data[name]
        columns = [data.words, *([data.tags] if data.tags else []), tags]
        sentences = [
            "".join("\t".join(cells) + "\n" for cells in zip(*sentence, strict=True))
            for sentence in zip(*columns, strict=True)
        ]
        path = os.path.join(self._output_dir, output_folder.TABLE_FILE.format(name))
        with storage.open(path + ".tmp", "w") as file:
            file.write("\n".join(sentences))
        storage.rename(path + ".tmp", path, overwrite=True)
        print(f"Predictions: {path}", flush=True)


def _make_table(gold, tags) -> str:
    every = {tag for sentences in (gold, tags) for each in sentences for tag in each}
    if every <= {tagging_data.OUTSIDE}:
        # seqeval cannot print a table without a row.
        return "There is no span, neither in the file nor predicted."
    return seqeval.metrics.classification_report(gold, tags, digits=4, zero_division=0)


def _compute(gold: list[list[str]], tags: list[list[str]], outputs) -> dict[str, float]:
    """Measure spans as the CoNLL shared tasks do, and words.

    A span counts as found if its type and both ends are right. seqeval's default reads
    spans as conlleval does, an I- that follows no span of its type as a beginning.
    """
    scores = {
        "precision": seqeval.metrics.precision_score,
        "recall": seqeval.metrics.recall_score,
        F1: seqeval.metrics.f1_score,
    }
    values = {k: float(s(gold, tags, zero_division=0)) for k, s in scores.items()}
    values["accuracy"] = float(seqeval.metrics.accuracy_score(gold, tags))
    flat = [tag for sentence in gold for tag in sentence]
    values["outside_accuracy"] = flat.count(tagging_data.OUTSIDE) / len(flat)
    words = np.sum(outputs[model.COUNT])
    losses = np.sum(outputs[model.LOSS], dtype=np.float64)
    values["loss"] = float(losses / max(words, 1))
    return values
