"""The metrics of sentence embeddings, and their file of predictions."""

from collections.abc import Mapping

import numpy as np

from bert_cn.finetuning import features as features_lib
from bert_cn.finetuning import metrics, results, training
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import results as classification_results
from bert_cn.finetuning.sentences import model

_METRICS = (metrics.SPEARMAN, metrics.PEARSON)


class Reporter(classification_results.SplitReporter):
    """Measures cosines against scores.

    Args:
        trainer: its learner is a `SentenceEncoder`'s.
        data: split name -> pairs and scores.
        features: split name -> features.
        output_dir: the folder for predictions.
    """

    noun = "pairs"

    def __init__(
        self,
        trainer: training.Trainer,
        data: Mapping[str, classification_data.Split],
        features: Mapping[str, features_lib.Features],
        output_dir: str,
    ):
        super().__init__(trainer, _METRICS, _METRICS[:1], data, features, output_dir)

    def decide(self, outputs: results.Outputs) -> np.ndarray:
        """Return the cosine of each pair, float32 [rows]."""
        return outputs[model.COSINE]

    def list_predictions(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> list[str]:
        """Return rows of index and cosine."""
        pairs = zip(data.table.indices, self.decide(outputs), strict=True)
        return ["index\tcosine", *(f"{index}\t{value:.6f}" for index, value in pairs)]
