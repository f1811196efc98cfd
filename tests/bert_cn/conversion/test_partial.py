"""Checkpoints with more or less than our own: read, listed, or refused."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from bert_cn.conversion import formats, pretrained
from bert_cn.conversion.weight_map import Part

PARTIAL = pretrained.ReadOptions(allow_partial=True)


@pytest.fixture
def write_tf1(build_bert, tmp_path):
    """Write a TF1 checkpoint of the names that a function makes of ours."""

    def run(rename=lambda name: name, bert=None, more=None):
        bert = bert or build_bert()
        weights = {rename(name): array for name, array in bert.weights.items()}
        weights = {name: a for name, a in (weights | (more or {})).items() if name}
        prefix = str(tmp_path / "bert_model.ckpt")
        tf.raw_ops.SaveV2(
            prefix=prefix,
            tensor_names=list(weights),
            shape_and_slices=[""] * len(weights),
            tensors=list(weights.values()),
        )
        (tmp_path / "bert_config.json").write_text(bert.config.to_json())
        return prefix

    return run


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"module/{name}",
        lambda name: f"bert/{name}",
        lambda name: name.replace("bert/", "my_model/"),
        lambda name: name.removeprefix("bert/"),
    ],
    ids=["outer scope", "wrapped twice", "another name", "no scope"],
)
def test_names_under_another_scope_are_read(
    rename, write_tf1, build_bert, assert_same_weights
):
    assert_same_weights(formats.read_checkpoint(write_tf1(rename)), build_bert())


def test_optimizer_slots_are_left_out(write_tf1, build_bert, assert_same_weights):
    slots = {
        f"bert/pooler/dense/bias/{slot}": np.zeros(12, np.float32)
        for slot in ("adam_m", "adam_v", "lamb_m", "Adam", "Adam_1")
    }
    bert = formats.read_checkpoint(
        write_tf1(more=slots | {"global_step": np.int64(20)})
    )

    assert_same_weights(bert, build_bert())
    assert bert.global_step == 20
    assert bert.left_out == []


def test_left_over_weights_need_allow_partial(
    write_tf1, build_bert, assert_same_weights
):
    # run_classifier.py of google-research/bert adds this one.
    prefix = write_tf1(more={"output_weights": np.zeros((3, 12), np.float32)})

    with pytest.raises(ValueError, match=r"left over 1 \(output_weights\).*--allow_pa"):
        formats.read_checkpoint(prefix)
    bert = formats.read_checkpoint(prefix, options=PARTIAL)

    assert bert.left_out == ["output_weights"]
    assert_same_weights(bert, build_bert())


def test_head_without_some_weight_needs_allow_partial(write_tf1):
    prefix = write_tf1(
        lambda name: None if name == "cls/predictions/output_bias" else name
    )

    with pytest.raises(ValueError, match=r"missing 1 \(cls/predictions/output_bias\)"):
        formats.read_checkpoint(prefix)
    bert = formats.read_checkpoint(prefix, options=PARTIAL)

    assert bert.parts == (Part.ENCODER, Part.POOLER, Part.NSP)
    assert len(bert.left_out) == 4


def test_encoder_without_some_weight_is_refused_all_the_same(write_tf1):
    prefix = write_tf1(
        lambda name: None if name == "bert/embeddings/LayerNorm/beta" else name
    )

    with pytest.raises(ValueError, match=r"missing 1 \(bert/embeddings/LayerNorm/beta"):
        formats.read_checkpoint(prefix, options=PARTIAL)


@pytest.mark.parametrize("option", ["bert_config_file", "fallback_config_file"])
def test_config_may_lie_elsewhere(option, write_tf1, tmp_path):
    prefix = write_tf1()
    (tmp_path / "bert_config.json").rename(tmp_path / "sizes.json")

    with pytest.raises(ValueError, match=r"bert_config.json is not there.*--bert_con"):
        formats.read_checkpoint(prefix)
    options = pretrained.ReadOptions(**{option: str(tmp_path / "sizes.json")})
    assert formats.read_checkpoint(prefix, options=options).parts


def test_fallback_config_yields_to_the_one_beside_the_checkpoint(
    write_tf1, build_bert, tmp_path
):
    (tmp_path / "other.json").write_text(build_bert(hidden_size=24).config.to_json())
    options = pretrained.ReadOptions(fallback_config_file=str(tmp_path / "other.json"))

    bert = formats.read_checkpoint(write_tf1(), options=options)

    assert bert.config.hidden_size == 12


def test_config_flag_is_refused_for_a_checkpoint_with_its_own(build_bert, tmp_path):
    formats.write_checkpoint(build_bert(), "tf2", str(tmp_path / "tf2"))
    options = pretrained.ReadOptions(bert_config_file=str(tmp_path / "sizes.json"))

    with pytest.raises(ValueError, match="which has its own: leave the flag out"):
        formats.read_checkpoint(str(tmp_path / "tf2"), options=options)


@pytest.mark.parametrize("output_format", ["tf1", "tf2", "keras"])
def test_parts_that_are_kept_are_written(output_format, build_bert, tmp_path):
    bert = dataclasses.replace(build_bert())
    bert.keep_parts((Part.ENCODER, Part.POOLER, Part.MLM))

    formats.write_checkpoint(bert, output_format, str(tmp_path / "out"))

    back = formats.read_checkpoint(str(tmp_path / "out"))
    assert back.parts == (Part.ENCODER, Part.POOLER, Part.MLM)


def test_missing_head_cannot_be_kept(build_bert):
    bert = build_bert(parts=(Part.ENCODER, Part.POOLER, Part.MLM))

    with pytest.raises(ValueError, match="has no next-sentence head, only encoder, po"):
        bert.keep_parts((Part.ENCODER, Part.NSP))


def test_missing_pooler_is_no_error_when_parts_are_kept(build_bert):
    bert = build_bert(parts=(Part.ENCODER, Part.MLM))

    bert.keep_parts((Part.ENCODER, Part.POOLER, Part.MLM))

    assert bert.parts == (Part.ENCODER, Part.MLM)
