"""The keras folder in KerasHub itself."""

import keras_hub
import numpy as np

from bert_cn.conversion import formats

TEXT = "使用语言模型来预测下一个词的probability。"


def test_backbone_from_preset_gives_our_outputs(
    build_bert, compute_outputs, model_input, assert_close, tmp_path
):
    bert = build_bert()
    formats.write_checkpoint(bert, "keras", str(tmp_path / "out"))

    backbone = keras_hub.models.BertBackbone.from_preset(str(tmp_path / "out"))
    theirs = backbone(
        {
            "token_ids": model_input.token_ids,
            "segment_ids": model_input.segment_ids,
            "padding_mask": model_input.mask,
        }
    )

    assert_close(
        compute_outputs(bert),
        {name: np.asarray(array) for name, array in theirs.items()},
    )


def test_tokenizer_from_preset_gives_the_ids(build_bert, tmp_path):
    bert = build_bert()
    formats.write_checkpoint(bert, "keras", str(tmp_path / "out"))

    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(tmp_path / "out"))

    tokens = [*"使用语言模型来预测下一个词的", "pro", "##ba", "##bility", "。"]
    expected = [bert.vocabulary.ids[token] for token in tokens]
    assert np.asarray(tokenizer(TEXT)).tolist() == expected


def test_preset_saved_by_keras_hub_alone_is_read(build_bert, tmp_path):
    bert = build_bert()
    formats.write_checkpoint(bert, "keras", str(tmp_path / "ours"))
    backbone = keras_hub.models.BertBackbone.from_preset(str(tmp_path / "ours"))
    backbone.save_to_preset(str(tmp_path / "theirs"))
    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(tmp_path / "ours"))
    tokenizer.save_to_preset(str(tmp_path / "theirs"))

    back = formats.read_checkpoint(str(tmp_path / "theirs"))

    assert [str(part) for part in back.parts] == ["encoder", "pooler"]
    assert all(np.array_equal(bert.weights[k], v) for k, v in back.weights.items())
    assert back.vocabulary.tokens == bert.vocabulary.tokens
    assert back.do_lower_case is False


def test_case_folding_of_keras_hub_is_kept_off_chinese_text(build_bert, tmp_path):
    bert = build_bert()
    bert.do_lower_case = True
    formats.write_checkpoint(bert, "keras", str(tmp_path / "out"))

    tokenizer = keras_hub.models.BertTokenizer.from_preset(str(tmp_path / "out"))

    expected = [bert.vocabulary.ids[token] for token in ("中", "，", "bert")]
    assert np.asarray(tokenizer("中，BERT".lower())).tolist() == expected
    (warning,) = formats.FORMATS["keras"].describe_differences(bert)
    assert "lower-case text yourself" in warning
    assert formats.read_checkpoint(str(tmp_path / "out")).do_lower_case is True
