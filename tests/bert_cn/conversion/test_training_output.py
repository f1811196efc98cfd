"""Checkpoints of our own training, the newest or a named one."""

import shutil

import keras
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, keras_weights, training_output
from bert_cn.model import pretraining_model


@pytest.fixture
def write_training_folder(build_bert, vocab_file, tmp_path):
    """Write what run_pretraining leaves, after steps 7 and 9 (of another seed)."""

    def write(make_optimizer=lambda model: tf.Variable(3.0)):
        bert = build_bert()
        folder = tmp_path / "run"
        model = pretraining_model.build_pretraining_model(bert.config)
        checkpoint = tf.train.Checkpoint(model=model, optimizer=make_optimizer(model))
        manager = tf.train.CheckpointManager(
            checkpoint, str(folder), max_to_keep=2, checkpoint_name="ckpt"
        )
        for step, seed in ((7, 0), (9, 1)):
            keras_weights.assign_to_model(model, build_bert(seed=seed).weights)
            manager.save(checkpoint_number=step)
        (folder / "bert_config.json").write_text(bert.config.to_json())
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}\n')
        shutil.copy(vocab_file, folder / "vocab.txt")
        return folder

    return write


def test_newest_checkpoint_is_read_with_its_step(
    write_training_folder, build_bert, assert_same_weights
):
    folder = write_training_folder()

    back = formats.read_checkpoint(str(folder))

    assert formats.find_format(str(folder)) == "training"
    assert_same_weights(back, build_bert(seed=1))
    assert back.global_step == 9
    assert back.do_lower_case is False


def test_newest_step_counts_if_training_was_killed_before_it_recorded_it(
    write_training_folder,
):
    folder = write_training_folder()
    state = folder / "checkpoint"
    state.write_text(state.read_text().replace("ckpt-9", "ckpt-7"))

    assert formats.read_checkpoint(str(folder)).global_step == 9


def test_newest_step_counts_in_a_copy_without_the_record(
    write_training_folder, build_bert, assert_same_weights
):
    folder = write_training_folder()
    (folder / "checkpoint").unlink()

    assert_same_weights(formats.read_checkpoint(str(folder)), build_bert(seed=1))


def test_recorded_checkpoint_that_is_lost_does_not_count(write_training_folder):
    folder = write_training_folder()
    for path in folder.glob("ckpt-9.*"):
        path.unlink()

    assert formats.read_checkpoint(str(folder)).global_step == 7


def test_named_checkpoint_is_read(
    write_training_folder, build_bert, assert_same_weights
):
    folder = write_training_folder()

    for name in ("ckpt-7", "ckpt-7.index", "ckpt-7.data-00000-of-00001"):
        back = formats.read_checkpoint(str(folder / name))
        assert formats.find_format(str(folder / name)) == "training"
        assert_same_weights(back, build_bert())
        assert back.global_step == 7
        assert back.vocabulary is not None
    assert training_output.find_prefix(str(folder / "ckpt-8")) is None
    with pytest.raises(ValueError, match="No checkpoint is recognised at .*ckpt-8"):
        formats.read_checkpoint(str(folder / "ckpt-8"))


def test_weights_that_lie_under_the_optimizers_keys_are_found(
    write_training_folder, build_bert, assert_same_weights
):
    # As TensorFlow names them when a model is trained on several replicas.
    def hold_weights(model):
        optimizer = keras.optimizers.AdamW()
        optimizer.build(model.trainable_variables)
        holder = tf.train.Checkpoint(slots=[v.value for v in optimizer.variables])
        holder.weights = [v.value for v in model.trainable_variables]
        return holder

    folder = write_training_folder(hold_weights)

    names = tf.train.load_checkpoint(str(folder)).get_variable_to_shape_map()
    assert "optimizer/weights/0/.ATTRIBUTES/VARIABLE_VALUE" in names
    assert_same_weights(formats.read_checkpoint(str(folder)), build_bert(seed=1))


def test_folder_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no training checkpoint: name the --ou"):
        formats.read_checkpoint(str(tmp_path), "training")
