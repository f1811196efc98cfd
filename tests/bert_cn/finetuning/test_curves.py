from bert_cn.finetuning import curves
from bert_cn.training import reporting


def read(folder, name):
    return reporting.read_scalars(reporting.log_dir(str(folder), name))


def test_curves_of_an_earlier_run_stay_or_are_replaced(tmp_path):
    for step, replace in ((1, False), (2, False), (3, True)):
        written = curves.Curves(str(tmp_path), replace)
        written.write(curves.TRAIN, {"loss": step / 4}, step)
        written.write(curves.DEV, {}, step)
        if step == 2:
            assert read(tmp_path, "train") == {"loss": {1: 0.25, 2: 0.5}}
    assert read(tmp_path, "train") == {"loss": {3: 0.75}}
    assert read(tmp_path, "eval") == {}
