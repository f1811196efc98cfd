from bert_cn.finetuning import output_folder


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
