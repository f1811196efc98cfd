import dataclasses
import json

import pytest

from data_prep.text import quality_filter, segmentation

SENTENCES = [
    "今天的天气很好，我们在公园里散步。",
    "他是一位老师，也有很多学生。",
    "这座城市的历史很长，被人称为古都！",
    "科学家发现了新的材料，并且作了试验。",
    "由于下雨，比赛推迟到下个月。",
    "图书馆中有三万册书，读者可以免费借阅。",
    "她和朋友去年在山上种了一千棵树。",
    "火车每天早上六点出发，中午到达。",
]
GOOD = "\n".join(SENTENCES)
PUBLISHED, _ = quality_filter.load_thresholds("fineweb2_zh")


def find(text: str, thresholds=PUBLISHED) -> str:
    starts = segmentation.build_segmenter("rjieba")(text)
    words, word = [], ""
    for character, begins in zip(text, starts, strict=True):
        if begins:
            words.append(word)
            word = ""
        word += character
    words = [word.strip() for word in [*words, word] if word.strip()]
    return quality_filter.find_problem(text, words, thresholds)


def test_ordinary_text_passes():
    assert find(GOOD) == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("今天的天气很好。", "min_doc_words"),
        ("\n".join(SENTENCES).replace("。", "").replace("！", ""), "line_punct_thr"),
        (GOOD + "\n" + "\n".join(SENTENCES[:4]), "dup_line_frac"),
        (GOOD + "\n" + SENTENCES[0] * 1 + "\n" + SENTENCES[0], "char_duplicates_ratio"),
        ("\n".join(["苹果香蕉西瓜葡萄橘子。"] * 12), "min_stop_words"),
        (GOOD.replace("，", "……"), "max_symbol_word_ratio"),
        ("\n".join("•" + line for line in SENTENCES), "max_bullet_lines_ratio"),
        (GOOD + "哈哈笑" * 60, "top_n_grams"),
        ("1234 56 " * 100 + "\n" + GOOD, "max_non_alpha_words_ratio"),
    ],
)
def test_each_rule_names_itself(text, problem):
    assert find(text) == problem


def test_words_that_come_again_in_a_row_are_repetition():
    thresholds = quality_filter.Thresholds(dup_n_grams=((5, 0.198),))
    assert find(GOOD, thresholds) == ""
    assert find(GOOD + "".join(SENTENCES), thresholds) == "dup_n_grams"


def test_share_of_han_is_a_rule_of_its_own():
    thresholds = quality_filter.Thresholds(min_han_ratio=0.5)
    assert find(GOOD, thresholds) == ""
    assert find("English words and 几个汉字", thresholds) == "min_han_ratio"


def test_file_may_have_some_thresholds(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"min_doc_words": 3}))
    thresholds, _ = quality_filter.load_thresholds(str(path))
    assert thresholds == dataclasses.replace(
        quality_filter.Thresholds(), min_doc_words=3
    )
    assert find("一个", thresholds) == "min_doc_words"
    assert find("1 2 3 4", thresholds) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must be a JSON object with some of the fields min_doc_words"),
        ('{"min_words": 3}', "must be a JSON object with some of the fields"),
        ('{"min_doc_words": "3"}', "has 3 for min_doc_words: see fineweb2_zh"),
        ('{"top_n_grams": [[2]]}', r"has \[2\] in top_n_grams: each entry is"),
        ('{"stopwords": [1]}', r"has \[1\] for stopwords"),
        ("{", "cannot be read"),
    ],
)
def test_bad_file_is_refused(tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        quality_filter.load_thresholds(str(path))


def test_missing_file_is_refused():
    with pytest.raises(ValueError, match="--filter=none.json cannot be read"):
        quality_filter.load_thresholds("none.json")
