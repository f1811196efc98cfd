"""The sentence that goes through the docstrings of the data stage.

`data_prep.text.documents` shows how `tokenized` is made; the modules after it begin
with `from tests.data_prep.worked_example import tokenized, vocabulary`. The examples
run from the repository's root: see test_worked_example.py.
"""

from data_prep.text import documents, segmentation, vocab

SENTENCE = "使用语言模型来预测下一个词的probability。"
VOCAB_FILE = "tests/data_prep/golden/vocab.txt"

vocabulary = vocab.load_vocabulary(VOCAB_FILE)
tokenized = documents.DocumentTokenizer(
    vocabulary,
    do_lower_case=True,
    segmenter=segmentation.build_segmenter("rjieba"),
    max_segment_tokens=125,
).tokenize([SENTENCE])
