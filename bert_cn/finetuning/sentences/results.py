"""The metrics of sentence embeddings, and their file of predictions."""

import numpy as np

from bert_cn.finetuning import metrics, results
from bert_cn.finetuning.classification import data as classification_data
from bert_cn.finetuning.classification import results as classification_results
from bert_cn.finetuning.sentences import model


class Reporter(classification_results.SplitReporter):
    """Measures cosines against scores."""

    noun = "pairs"
    names = (metrics.SPEARMAN, metrics.PEARSON)
    main_names = (metrics.SPEARMAN,)

    def decide(self, outputs: results.Outputs) -> np.ndarray:
        """Return the cosine of each pair, float32 [rows]."""
        return outputs[model.COSINE]

    def list_predictions(
        self, data: classification_data.Split, outputs: results.Outputs
    ) -> list[str]:
        """Return rows of index and cosine."""
        pairs = zip(data.table.indices, self.decide(outputs), strict=True)
        return ["index\tcosine", *(f"{index}\t{value:.6f}" for index, value in pairs)]
