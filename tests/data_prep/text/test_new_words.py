import collections

import pytest

from data_prep.text import new_words


@pytest.fixture
def vocabulary(make_vocabulary):
    return make_vocabulary(*"我们研究辐鳍鱼是，。", "ten", "##sor", "##flow", "的")


def test_words_are_counted_as_the_segmenter_finds_them():
    counts = new_words.count_words(["甲 乙乙", "乙乙", ""], "whitespace")
    assert counts == {"甲": 1, " ": 1, "乙乙": 2}


def test_words_of_the_domain_come_first_and_common_ones_not_at_all(vocabulary):
    counts = collections.Counter(
        {"的": 98_000, "我们": 160, "辐鳍鱼": 200, "tensorflow": 100, "2024": 90}
    )
    found = new_words.find_new_words(counts, vocabulary, True, min_count=50)
    assert found == [
        new_words.NewWord("辐鳍鱼", 200, 3),
        new_words.NewWord("tensorflow", 100, 3),
    ]
    assert [each.saved for each in found] == [400, 200]


def test_rare_and_unknown_words_are_left_out(vocabulary):
    counts = new_words.count_words(["辐鳍鱼鿏鿐" * 60, "tensorflow"], "rjieba")
    found = new_words.find_new_words(counts, vocabulary, True, min_count=2)
    words = [each.word for each in found]
    assert "tensorflow" not in words
    assert not [word for word in words if "鿏" in word]
