import json

import huggingface_hub
import pytest

from bert_cn.finetuning import model_card


def write(folder, architecture, results):
    config = {"architectures": [architecture], "model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(config))
    model_card.write_card(str(folder), "chnsenticorp", results)
    return folder / "README.md"


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("RobertaForTokenClassification", "token-classification"),
        ("XLMRobertaForQuestionAnswering", "question-answering"),
    ],
)
def test_hub_reads_what_the_model_is_for_and_how_it_did(tmp_path, architecture, task):
    results = {"eval_accuracy": 0.88333, "eval_loss": 0.3, "global_step": 900.0}
    path = write(tmp_path, architecture, results)
    card = huggingface_hub.ModelCard.load(path)
    assert card.data.pipeline_tag == task
    assert card.data.library_name == "transformers"
    (result,) = card.data.eval_results
    assert (result.metric_name, result.metric_value) == ("eval_accuracy", 0.8833)
    assert result.metric_type == "accuracy"
    assert result.dataset_name == "chnsenticorp"
    assert f'pipeline("{task}", model="FOLDER")(' in card.text


def test_model_that_was_not_measured_has_a_card(tmp_path):
    path = write(tmp_path, "BertForSequenceClassification", {})
    card = huggingface_hub.ModelCard.load(path)
    assert card.data.eval_results is None
    assert "Nothing was measured." in card.text


def test_sentence_model_keeps_its_card(tmp_path):
    assert not write(tmp_path, "BertModel", {"eval_spearman": 0.7}).exists()
