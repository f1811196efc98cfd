import math

import pytest

from bert_cn.pretraining import evaluation, input_pipeline
from bert_cn.pretraining import records as records_lib
from bert_cn.pretraining import settings as settings_lib
from bert_cn.training import reporting


def test_training_lowers_the_loss_and_reports_it(start_run, files, capsys):
    run = start_run(num_train_steps=60)
    dataset = input_pipeline.build_eval_dataset(files, 8)
    before, records = evaluation.evaluate(run.trainer, dataset, 0)
    assert run.train()
    after, _ = evaluation.evaluate(run.trainer, dataset, 0)
    assert records == 40
    assert before["masked_lm_loss"] == pytest.approx(math.log(40), rel=0.05)
    assert after["masked_lm_loss"] < before["masked_lm_loss"] - 0.1
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0].startswith("1/60  loss ")
    assert lines[-1].startswith("60/60  loss ")
    # 40 labels, half of them 0; the masks of these records are seldom neighbours.
    assert before["next_sentence_majority"] == 0.5
    assert before["perplexity"] == pytest.approx(math.exp(before["masked_lm_loss"]))
    assert 0 <= before["masked_lm_accuracy_alone"] <= 1
    for part in ("  mlm ", "  nsp ", " seq/s", " left"):
        assert part in lines[-1]


def test_evaluation_stops_after_max_steps(start_run, files):
    dataset = input_pipeline.build_eval_dataset(files, 8)
    assert evaluation.evaluate(start_run().trainer, dataset, 2)[1] == 16


def test_random_head_of_a_checkpoint_is_named(start_run, files, tmp_path, capsys):
    run = start_run(num_train_steps=200)
    records = records_lib.Records(files, files, None, None, "nsp")
    args = settings_lib.PretrainingArgs(do_eval=True, init_checkpoint="large")
    evaluation.Evaluator(args, run.trainer, records, str(tmp_path)).run()
    assert (
        "is about ln(40) = 3.69: the masked-LM head of large is random"
        in capsys.readouterr().out
    )
    assert run.train()
    run.trainer.optimizer.iterations.assign(0)  # As if read from a checkpoint.
    evaluation.Evaluator(args, run.trainer, records, str(tmp_path)).run()
    assert "is random" not in capsys.readouterr().out


def test_evaluation_that_is_stopped_leaves_nothing(start_run, files, tmp_path):
    args = settings_lib.PretrainingArgs(do_eval=True, eval_batch_size=8)
    records = records_lib.Records(files, files, None, None, "nsp")
    evaluator = evaluation.Evaluator(args, start_run().trainer, records, str(tmp_path))
    assert not evaluator.run(stop_requested=True)
    assert reporting.read_evaluated_step(str(tmp_path)) is None
    assert evaluator.run()
    assert reporting.read_evaluated_step(str(tmp_path)) == 0
