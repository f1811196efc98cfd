from bert_cn.pretraining import failure_report

RECORDS = [("data/a.tfrecord", number) for number in (3, 7)]
RECORDS += [("data/b.tfrecord", number) for number in (1, 2, 9)]


def test_records_of_a_bad_batch_are_named_and_listed(tmp_path):
    said = failure_report.describe_not_finite(5, "run/ckpt-4", RECORDS, str(tmp_path))
    listed = tmp_path / "records_of_step_5.txt"
    assert said == (
        "The loss or its gradient is not finite in step 5; the last good checkpoint is "
        "run/ckpt-4. Lower --learning_rate or raise --num_warmup_steps, then run the "
        "command again with another --output_dir. --init_checkpoint=run/ckpt-4 starts "
        "from those weights. The records of that batch "
        "(a.tfrecord 3, a.tfrecord 7, b.tfrecord 1, b.tfrecord 2, ...) "
        f"are listed in {listed}; python -m data_prep.inspect_records --first_record=3 "
        "--num_records=1 data/a.tfrecord shows the first of them."
    )
    lines = [f"{path}\t{number}" for path, number in RECORDS]
    assert listed.read_text().splitlines() == lines


def test_nothing_saved_is_said(tmp_path):
    said = failure_report.describe_not_finite(1, None, RECORDS[:1], str(tmp_path))
    assert "in step 1; nothing was saved. Lower" in said
    assert "--init_checkpoint" not in said
