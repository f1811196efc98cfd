"""The metrics of a tagger, and its file of predictions."""

import numpy as np
import seqeval.metrics

from bert_cn.finetuning import batches, results
from bert_cn.finetuning.tagging import data as tagging_data
from bert_cn.finetuning.tagging import model

F1 = "f1"
# Among the outputs: the predicted tag of each word, a list for each sentence.
_TAGS = "tags"


class Reporter(results.Reporter):
    """Measures a tagger; its data are `tagging.data.Sentences`.

    Args:
        labels: names of the classes.
        *measured: see `results.Reporter`.
    """

    main_metric = F1
    noun = "sentences"

    def __init__(self, labels: tuple[str, ...], *measured):
        super().__init__(*measured)
        self._labels = labels

    def predict(self, name: str, shape: batches.Shape) -> results.Outputs:
        """Return the learner's outputs, and a tag for each word."""
        outputs = super().predict(name, shape)
        tags = tagging_data.decode_tags(
            self._features[name],
            outputs[model.CLASS],
            self._data[name].words,
            self._labels,
        )
        return {**outputs, _TAGS: tags}

    def compute(
        self, data: tagging_data.Sentences, outputs: results.Outputs
    ) -> dict[str, float]:
        """Measure spans as the CoNLL shared tasks do, and words; the loss is a word's.

        A span is right if its type and both ends are right. seqeval's default reads
        spans as conlleval does: an I- that follows no span of its type begins one.
        """
        gold, tags = data.tags, outputs[_TAGS]
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

    def describe(self, data: tagging_data.Sentences, outputs: results.Outputs) -> str:
        """Return a table of the metrics of each type of span."""
        return make_table(data.tags, outputs[_TAGS])

    def list_predictions(
        self, data: tagging_data.Sentences, outputs: results.Outputs
    ) -> list[str]:
        """Return the word, its tag if the file has one, and the predicted tag."""
        columns = [data.words, *([data.tags] if data.tags else []), outputs[_TAGS]]
        lines = []
        for sentence in zip(*columns, strict=True):
            lines += ["\t".join(cells) for cells in zip(*sentence, strict=True)]
            lines.append("")  # Between sentences.
        return lines[:-1]


def make_table(gold: list[list[str]], tags: list[list[str]]) -> str:
    """Return seqeval's table, or a sentence if there is no span.

    Args:
        gold: the right tag of each word, a list for each sentence.
        tags: the predicted tag of each word.
    """
    every = {tag for sentences in (gold, tags) for each in sentences for tag in each}
    if every <= {tagging_data.OUTSIDE}:
        # seqeval cannot print a table without a row.
        return "There is no span, neither in the file nor predicted."
    return seqeval.metrics.classification_report(gold, tags, digits=4, zero_division=0)
