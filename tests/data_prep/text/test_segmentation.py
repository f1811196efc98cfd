import hashlib
import importlib.util
import sys
import types

import numpy as np
import pytest

from data_prep.text import segmentation


def words(name: str, text: str, user_words=()) -> list[str]:
    starts = segmentation.build_segmenter(name, user_words)(text)
    assert starts.shape == (len(text),)
    places = [*np.flatnonzero(starts).tolist(), len(text)]
    return [text[a:b] for a, b in zip(places, places[1:], strict=False)]


def needs_package(name: str):
    """A segmenter as a parameter; it skips where its package is missing."""
    missing = name in segmentation.EXTRAS and importlib.util.find_spec(name) is None
    reason = f"needs the package {name}: pip install -e '.[{name}]'"
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=reason))


EVERY = [needs_package(name) for name in segmentation.SEGMENTERS]
CHINESE = [needs_package(n) for n in ("rjieba", "jieba", *segmentation.EXTRAS)]


@pytest.mark.parametrize("name", CHINESE)
def test_golden_sentence_is_segmented(name):
    text = "使用语言模型来预测下一个词的probability。"
    assert words(name, text) == (
        "使用 语言 模型 来 预测 下 一个 词 的 probability 。".split()
    )


@pytest.mark.parametrize("name", EVERY)
def test_words_end_with_the_line_and_nothing_is_lost(name):
    text = "模型\n模型\n\nx"
    found = words(name, text)
    assert "".join(found) == text
    assert all(word == "\n" or "\n" not in word for word in found)


@pytest.mark.parametrize("name", EVERY)
def test_empty_text_has_no_words(name):
    assert words(name, "") == []


def test_whitespace_keeps_mixed_words_whole():
    found = words("whitespace", "卡拉OK 3D打印\u3000好")
    assert found == ["卡拉OK", " ", "3D打印", "\u3000", "好"]


def test_text_that_a_library_changes_falls_into_characters(monkeypatch):
    module = types.ModuleType("pkuseg")
    module.pkuseg = lambda: types.SimpleNamespace(
        cut=lambda chunk: ["全词"] if chunk == "全詞" else ["掩码", "模型"]
    )
    monkeypatch.setitem(sys.modules, "pkuseg", module)
    assert words("pkuseg", "全詞 掩码模型\n") == ["全", "詞", " ", "掩码", "模型", "\n"]


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--segmenter=thulac needs the package th"):
        segmentation.check_installed("thulac")
    segmentation.check_installed("rjieba")


def test_unknown_segmenter_is_refused():
    with pytest.raises(
        ValueError, match="--segmenter=ltp is unknown: choose one of rj"
    ):
        segmentation.build_segmenter("ltp")


USER_DICT = "\ufeff语言模型\n预训练 3 n\r\n\n韩玉赏鉴 nz\n"


@pytest.fixture
def user_dict(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(USER_DICT.encode())
    return str(path)


def test_user_dictionary_is_read_as_jieba_does(user_dict):
    words, sha256 = segmentation.load_user_dict(user_dict)
    assert words == (
        segmentation.UserWord("语言模型"),
        segmentation.UserWord("预训练", 3, "n"),
        segmentation.UserWord("韩玉赏鉴", None, "nz"),
    )
    assert sha256 == hashlib.sha256(USER_DICT.encode()).hexdigest()


@pytest.mark.parametrize("name", segmentation.WITH_DICTIONARY)
def test_user_words_are_found_and_stay_with_their_segmenter(name, user_dict):
    text = "学习语言模型预训练，韩玉赏鉴"
    user_words, _ = segmentation.load_user_dict(user_dict)
    found = words(name, text, user_words)
    assert found == "学习 语言模型 预训练 ， 韩玉赏鉴".split()
    assert words(name, text) == "学习 语言 模型 预 训练 ， 韩玉 赏鉴".split()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("词 三".encode(), "has '词 三' on line 1: a line is a word"),
        ("好\n词 3 n 4".encode(), "has '词 3 n 4' on line 2"),
        (
            f"词 {1 << 63} n".encode(),
            "line 1: frequency 9223372036854775808 is not below",
        ),
        (b"\n \n", "holds no word"),
        (b"ab\n\xff", "is not UTF-8 at byte 3"),
    ],
)
def test_bad_user_dictionary_is_refused(tmp_path, data, message):
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        segmentation.load_user_dict(str(path))


def test_missing_user_dictionary_is_refused():
    with pytest.raises(ValueError, match="--user_dict=/none.txt cannot be read"):
        segmentation.load_user_dict("/none.txt")
