import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats
from bert_cn.model import pretraining_model
from bert_cn.pretraining import checkpoints as checkpoints_lib
from bert_cn.training import optimization


def make_checkpoints(config, folder, max_to_keep=2):
    model = pretraining_model.build_pretraining_model(config)
    optimizer = optimization.BertAdamW(0.1)
    optimizer.build(model.trainable_variables)
    checkpoints = checkpoints_lib.TrainingCheckpoints(
        model, optimizer, str(folder), max_to_keep
    )
    return model, optimizer, checkpoints


def test_everything_that_changes_in_training_is_restored(small_config, tmp_path):
    model, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    for variable in (*model.variables, *optimizer.variables):
        variable.assign(np.full(variable.shape, 7))
    checkpoints.save()
    other_model, other_optimizer, others = make_checkpoints(small_config, tmp_path)
    assert others.restore_latest() == 7
    # The learning rate is a schedule's value, not a state.
    restored = [*other_model.variables, *other_optimizer.variables]
    for variable in restored:
        np.testing.assert_array_equal(variable.numpy(), np.full(variable.shape, 7))


def test_without_checkpoint_the_step_is_zero(small_config, tmp_path):
    _, _, checkpoints = make_checkpoints(small_config, tmp_path)
    assert checkpoints.latest is None
    assert checkpoints.restore_latest() == 0


def list_indices(folder) -> list[str]:
    """Names, listed: Path.glob would take a folder's name for a pattern, too."""
    return sorted(p.name for p in folder.iterdir() if p.suffix == ".index")


@pytest.mark.parametrize("name", ["run", "a*b?", "a[b]"])
def test_only_the_newest_checkpoints_are_kept(small_config, tmp_path, name):
    folder = tmp_path / name
    model, optimizer, checkpoints = make_checkpoints(small_config, folder)
    for step in (3, 6, 9):
        optimizer.iterations.assign(step)
        checkpoints.save()
        loss = {"loss": 1 / step}
        assert checkpoints_lib.save_best(model, str(folder), loss, step)
    assert list_indices(folder) == ["ckpt-6.index", "ckpt-9.index"]
    assert list_indices(folder / "best") == ["ckpt-9.index"]
    assert checkpoints.latest_step == 9
    again = make_checkpoints(small_config, folder)[2]
    assert again.latest == f"{folder}/ckpt-9"
    # TensorFlow's own reader knows no folder with this in its name.
    if "[" not in name:
        assert again.restore_latest() == 9


def test_leftovers_of_a_killed_run_go_with_the_next_save(small_config, tmp_path):
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    for step in (3, 6, 12):
        optimizer.iterations.assign(step)
        checkpoints.save()
    # Killed while saving step 9, and again before what is older was removed.
    (tmp_path / "ckpt-9_temp").mkdir()
    (tmp_path / "ckpt-9_temp" / "part.data.tempstate1").touch()
    (tmp_path / "ckpt-9.data-00000-of-00001").touch()
    for path in tmp_path.glob("ckpt-6.*"):
        path.with_name(path.name.replace("6", "1")).write_bytes(path.read_bytes())
    (tmp_path / "ckpt-notes.txt").touch()
    # A new process, which does not know what the one before had saved.
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    optimizer.iterations.assign(7)
    checkpoints.save()
    left = {path.name.partition(".")[0] for path in tmp_path.glob("ckpt*")}
    # 12 was not reached yet: it may only be there because it is damaged.
    assert left == {"ckpt-6", "ckpt-7", "ckpt-12", "ckpt-notes"}


def test_checkpoint_of_another_size_is_refused(small_config, tmp_path):
    make_checkpoints(small_config, tmp_path)[2].save()
    wider = dataclasses.replace(small_config, hidden_size=16)
    deeper = dataclasses.replace(small_config, num_hidden_layers=3)
    for config in (wider, deeper):
        _, _, checkpoints = make_checkpoints(config, tmp_path)
        with pytest.raises(ValueError, match="does not fit the model"):
            checkpoints.restore_latest()


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(
    small_config, tmp_path, capsys, damage
):
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    for step in (3, 6):
        optimizer.iterations.assign(step)
        checkpoints.save()
    newest = tmp_path / "ckpt-6.data-00000-of-00001"
    if damage == "truncate":
        newest.write_bytes(newest.read_bytes()[:100])
    else:
        newest.unlink()
    _, _, others = make_checkpoints(small_config, tmp_path)
    assert others.restore_latest() == 3
    assert "ckpt-6 cannot be read and is passed over" in capsys.readouterr().err


def test_storage_out_of_reach_is_not_taken_for_damage(
    small_config, tmp_path, monkeypatch
):
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    for step in (3, 6):
        optimizer.iterations.assign(step)
        checkpoints.save()

    def restore_with(error):
        def fail(*_):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(tf.train.Checkpoint, "restore", fail)
            checkpoints.restore_latest()

    errors = tf.errors
    for kind in (
        *(errors.UnavailableError, errors.AbortedError, errors.DeadlineExceededError),
        *(errors.PermissionDeniedError, errors.ResourceExhaustedError),
    ):
        with pytest.raises(kind, match="^busy$"):
            restore_with(kind(None, None, "busy"))
    # As the reader of checkpoints raises them, which drops their kind.
    text = "All 10 retry attempts failed. The last failure: HTTP response code 503"
    with pytest.raises(errors.UnavailableError, match=f"ckpt-6.*reached .{text}.") as e:
        restore_with(errors.OpError(None, None, text, errors.UNKNOWN))
    assert e.value.error_code == errors.UNAVAILABLE
    for text in ("HTTP response code 403", "x.index; Permission denied"):
        with pytest.raises(errors.OpError, match=text):
            restore_with(errors.OpError(None, None, text, errors.UNKNOWN))
    with pytest.raises(ValueError, match="None of the 2 checkpoints"):
        restore_with(
            errors.OpError(None, None, "HTTP response code 404", errors.UNKNOWN)
        )


def test_newest_checkpoint_that_is_gone_is_named(small_config, tmp_path, capsys):
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    for step in (3, 6):
        optimizer.iterations.assign(step)
        checkpoints.save()
    (tmp_path / "ckpt-6.index").unlink()
    assert make_checkpoints(small_config, tmp_path)[2].restore_latest() == 3
    said = capsys.readouterr().err
    assert f"checkpoint ckpt-6, which the file `checkpoint` in {tmp_path} nam" in said
    assert "is gone or lacks its .index, and is passed over" in said
    (tmp_path / "ckpt-3.index").unlink()
    with pytest.raises(
        ValueError, match="holds no checkpoint, but .* names ckpt-6: .* to start again"
    ):
        make_checkpoints(small_config, tmp_path)[2].restore_latest()


def test_no_readable_checkpoint_is_an_error_not_a_fresh_start(small_config, tmp_path):
    make_checkpoints(small_config, tmp_path)[2].save()
    (tmp_path / "ckpt-0.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="None of the 1 checkpoints"):
        make_checkpoints(small_config, tmp_path)[2].restore_latest()


def test_first_save_that_was_cut_off_is_no_checkpoint(small_config, tmp_path, capsys):
    make_checkpoints(small_config, tmp_path)[2].save()
    (tmp_path / "ckpt-0.index").write_bytes(b"")
    # It is written last.
    (tmp_path / "checkpoint").unlink()
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    assert checkpoints.restore_latest() == 0
    assert checkpoints.latest is None
    assert "ckpt-0 cannot be read and is passed over" in capsys.readouterr().err
    optimizer.iterations.assign(2)
    checkpoints.save()
    assert make_checkpoints(small_config, tmp_path)[2].restore_latest() == 2


def test_missing_state_file_does_not_hide_the_checkpoints(small_config, tmp_path):
    _, optimizer, checkpoints = make_checkpoints(small_config, tmp_path)
    optimizer.iterations.assign(4)
    checkpoints.save()
    (tmp_path / "checkpoint").unlink()
    assert make_checkpoints(small_config, tmp_path)[2].restore_latest() == 4


def test_best_weights_are_kept_by_evaluation_loss(small_config, tmp_path):
    (tmp_path / "bert_config.json").write_text(small_config.to_json())
    model = pretraining_model.build_pretraining_model(small_config)
    bias = model.get_layer(pretraining_model.MLM_HEAD).bias
    kept = []
    for step, loss in ((5, np.nan), (10, 3.0), (20, 2.0), (30, 2.5), (40, np.nan)):
        bias.assign(np.full(bias.shape, step))
        best = checkpoints_lib.save_best(model, str(tmp_path), {"loss": loss}, step)
        kept.append(best)
    assert kept == [False, True, True, False, False]
    best = formats.read_checkpoint(str(tmp_path / "best"))
    assert best.global_step == 20
    found = best.weights["cls/predictions/output_bias"]
    np.testing.assert_array_equal(found, np.full(bias.shape, 20))
    # Losses on other records do not compare with those so far.
    for measured_on, loss, is_best in (
        *(("dev", 9.0, True), ("dev", 9.5, False), ("more", 9.5, True)),
    ):
        assert is_best == checkpoints_lib.save_best(
            model, str(tmp_path), {"loss": loss}, 50, measured_on
        ), measured_on
