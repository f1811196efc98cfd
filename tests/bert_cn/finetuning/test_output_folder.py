import pytest

from bert_cn.finetuning import model_card, output_folder


def test_results_of_a_replaced_model_are_removed(tmp_path):
    gone = (
        *("eval_results.txt", "test_results.tsv", "test_2_results.tsv"),
        *("predictions.json", "nbest_predictions.json", "null_odds.json"),
    )
    for name in (*gone, "answers.tsv", "notes.txt"):
        (tmp_path / name).touch()
    output_folder.remove_results(str(tmp_path))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["answers.tsv", "notes.txt"]


def test_card_of_ours_may_be_replaced_and_no_other(tmp_path):
    best = tmp_path / "best"
    best.mkdir()
    (best / "config.json").write_text(
        '{"architectures": ["BertForSequenceClassification"]}'
    )
    model_card.write_card(str(best), "afqmc", {"eval_accuracy": 0.7})
    output_folder.check_for_training(str(tmp_path), overwrite=True)
    (best / "README.md").write_text("# My own notes\n")
    with pytest.raises(ValueError, match=r"holds README.md, which is no part of"):
        output_folder.check_for_training(str(tmp_path), overwrite=True)
