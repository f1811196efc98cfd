import numpy as np
import pytest

from data_prep import segmentation


def words(name: str, text: str) -> list[str]:
    starts = segmentation.build_segmenter(name)(text)
    assert starts.shape == (len(text),)
    places = [*np.flatnonzero(starts).tolist(), len(text)]
    return [text[a:b] for a, b in zip(places, places[1:], strict=False)]


@pytest.mark.parametrize("name", ["rjieba", "jieba"])
def test_golden_sentence_is_segmented(name):
    text = "使用语言模型来预测下一个词的probability。"
    assert words(name, text) == (
        "使用 语言 模型 来 预测 下 一个 词 的 probability 。".split()
    )


@pytest.mark.parametrize("name", segmentation.SEGMENTERS)
def test_words_end_with_the_line_and_nothing_is_lost(name):
    text = "模型\n模型\n\nx"
    found = words(name, text)
    assert "".join(found) == text
    assert all(word == "\n" or "\n" not in word for word in found)


@pytest.mark.parametrize("name", segmentation.SEGMENTERS)
def test_empty_text_has_no_words(name):
    assert words(name, "") == []


def test_whitespace_keeps_mixed_words_whole():
    found = words("whitespace", "卡拉OK 3D打印\u3000好")
    assert found == ["卡拉OK", " ", "3D打印", "\u3000", "好"]


def test_unknown_segmenter_is_refused():
    with pytest.raises(
        ValueError, match="--segmenter=ltp is unknown: choose one of rj"
    ):
        segmentation.build_segmenter("ltp")
