from data_prep.text import punctuation


def test_only_what_the_vocabulary_lacks_is_replaced(make_vocabulary):
    vocabulary = make_vocabulary("“", '"', "'", "-", "⋯", ".")
    # ” lacks, “ does not; of two substitutes for … the first is there.
    assert punctuation.choose_substitutes(vocabulary) == {
        "”": '"',
        "‘": "'",
        "’": "'",
        "—": "-",
        "…": "⋯",
    }


def test_character_without_substitute_stays(make_vocabulary):
    assert punctuation.choose_substitutes(make_vocabulary("模", "。")) == {"…": "。"}


def test_replacements_are_counted_and_keep_the_length():
    fixed, replaced = punctuation.fix_punctuation(
        "“好”——他说…… ok", {"“": '"', "”": '"', "—": "-", "…": "⋯"}
    )
    assert fixed == '"好"--他说⋯⋯ ok'
    assert replaced == 6
