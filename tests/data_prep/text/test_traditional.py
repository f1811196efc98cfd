import numpy as np
import pytest

from data_prep.text import corpus, segmentation, traditional


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("使用語言模型來預測下一個詞。", True),
        ("使用语言模型来预测下一个词。", False),
        # Nothing that differs, or nothing at all.
        ("天空很大。", False),
        ("", False),
        # 颱 and 風 against 台 and 湾: neither has more.
        ("颱風 台湾风", False),
        ("皇后說話", True),
    ],
)
def test_text_is_traditional_if_most_characters_that_differ_are(text, expected):
    assert traditional.is_traditional(text) is expected


def test_choice_decides_which_documents_are_simplified():
    old, new = "語言", "语言"
    applies = {c: traditional.Simplifier(c).applies for c in traditional.CHOICES}
    assert [applies["auto"](old), applies["auto"](new)] == [True, False]
    assert [applies["yes"](old), applies["yes"](new)] == [True, True]
    assert [applies["no"](old), applies["no"](new)] == [False, False]


def test_lines_are_simplified_one_by_one():
    lines = ["使用語言模型", "", "皇后說乾坤 OK", "頭髮發"]
    simplified = traditional.Simplifier("yes").simplify(lines)
    assert simplified == ["使用语言模型", "", "皇后说乾坤 OK", "头发发"]


def test_line_that_opencc_makes_longer_is_converted_by_characters(monkeypatch):
    class Longer:
        def convert(self, text):
            return text.replace("語", "语语")

    traditional._character_map("t2s")  # made by OpenCC itself, before it is replaced
    monkeypatch.setattr(traditional, "_converter", lambda direction: Longer())
    simplified = traditional.Simplifier("yes").simplify(["語言說", "天"])
    assert simplified == ["语言说", "天"]


@pytest.mark.shared_data
def test_encyclopedias_are_recognized_and_keep_their_lengths(shared_folder):
    found = {}
    for name in (
        "zh_wiki_traditional/drcd_dev_test.txt",
        "zh_wiki_simplified/cmrc_train_trial.txt",
    ):
        path = str(shared_folder / "data" / name)
        texts = [text for text, _ in corpus.read_documents(path)]
        found[name[:12]] = np.mean([traditional.is_traditional(t) for t in texts])
        if "traditional" in name:
            lines = [line for text in texts for line in text.split("\n")]
            converted = traditional._converter("t2s").convert("\n".join(lines))
            same = [
                len(a) == len(b)
                for a, b in zip(lines, converted.split("\n"), strict=True)
            ]
            assert all(same)
    assert found["zh_wiki_trad"] > 0.999
    assert found["zh_wiki_simp"] < 0.001


def test_words_of_traditional_text_are_those_of_its_simplified_text():
    segment = segmentation.build_segmenter("rjieba")
    line = "使用語言模型來預測"
    (simplified,) = traditional.Simplifier("yes").simplify([line])
    starts = segment(simplified)
    places = [*np.flatnonzero(starts).tolist(), len(line)]
    words = [line[a:b] for a, b in zip(places, places[1:], strict=False)]
    assert words == ["使用", "語言", "模型", "來", "預測"]
