"""The data stage and training of `make demo`, with its flag files."""

import pytest


@pytest.mark.slow
def test_demo_makes_records_with_a_report_and_trains_on_them(run_command, tmp_path):
    vocab_file = tmp_path / "vocab.txt"
    done = run_command(
        "data_prep.build_vocab",
        "--input_file=data_prep/sample_corpus/*.txt",
        f"--output_file={vocab_file}",
        "--vocab_size=4000",
    )
    assert done.returncode == 0, done.stderr
    done = run_command(
        "data_prep.create_pretraining_data",
        "--flagfile=configs/demo/data.flags",
        f"--output_file={tmp_path}/train.tfrecord",
        f"--vocab_file={vocab_file}",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "train.report.png").exists()
    done = run_command(
        "bert_cn.run_pretraining",
        "--flagfile=configs/demo/pretrain.flags",
        f"--input_file={tmp_path}/train-*.tfrecord",
        f"--output_dir={tmp_path}/model",
        "--num_train_steps=2",
        "--num_warmup_steps=1",
        "--max_eval_steps=2",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "eval_results.txt").exists()
