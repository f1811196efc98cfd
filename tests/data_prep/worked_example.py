"""The sentence that goes through the docstrings of the data stage.

`data_prep.text.documents` shows how `tokenized` is made; the modules after it begin
with an import from here of the stage before them. The examples run from the
repository's root: see test_worked_example.py.
"""

import numpy as np

from data_prep.records import masking, packing
from data_prep.records import sequences as sequences_lib
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

# [CLS], the sentence as A, [SEP]: 20 tokens; then masked, three tokens at most.
sequences = sequences_lib.build_sequences(
    tokenized,
    spans=packing.make_lines(tokenized).spans,
    known=sequences_lib.mark_known_words(
        tokenized.tokens, tokenized.word_starts, vocabulary
    ),
    max_seq_length=20,
    vocabulary=vocabulary,
)
masked = masking.mask_sequences(
    sequences,
    masking.MaskingRules(max_predictions_per_seq=3),
    vocabulary,
    np.random.default_rng(26),
)
