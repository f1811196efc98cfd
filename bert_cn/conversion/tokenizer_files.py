"""Vocabulary and tokenizer files that travel with a checkpoint."""

import os

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bert_cn.conversion import fast_tokenizer, folders, pretrained
from bert_cn.model import config as config_lib
from bert_cn.training import run_files
from data_prep import storage
from data_prep.text import added_words, tokenization
from data_prep.text import vocab as vocab_lib

TOKENIZER_FILE = "tokenizer.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
FILES = (
    run_files.VOCAB_FILE,
    run_files.TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE,
    SPECIAL_TOKENS_FILE,
)

# Longer words become [UNK], in google-research/bert and in the data stage.
_MAX_INPUT_CHARS_PER_WORD = 200
_SPECIAL_TOKENS = {
    "unk_token": vocab_lib.UNK,
    "sep_token": vocab_lib.SEP,
    "pad_token": vocab_lib.PAD,
    "cls_token": vocab_lib.CLS,
    "mask_token": vocab_lib.MASK,
}


def read_tokenizer_files(folder: str, model_type: str = config_lib.BERT) -> dict:
    """Read what a folder says about its tokenizer.

    Args:
        folder: of the model.
        model_type: one of `config.MODEL_TYPES`.

    Returns:
        The `PretrainedBert` fields vocabulary (None where there is neither a vocab.txt
        nor a tokenizer.json of WordPiece) and do_lower_case (None where no file says).

    Raises:
        ValueError: the vocabulary or a JSON file is damaged.
    """
    if model_type != config_lib.BERT:
        return {"vocabulary": fast_tokenizer.read(folder), "do_lower_case": False}
    path = folders.join(folder, run_files.VOCAB_FILE)
    if folders.exists(path):
        vocabulary = vocab_lib.load_vocabulary(path)
    else:
        vocabulary = _read_vocabulary_of_tokenizer(folder)
    return {"vocabulary": vocabulary, "do_lower_case": _read_do_lower_case(folder)}


def _read_vocabulary_of_tokenizer(folder: str) -> vocab_lib.Vocabulary | None:
    """Take the vocabulary from tokenizer.json; transformers 5 writes no vocab.txt."""
    path = folders.join(folder, TOKENIZER_FILE)
    if not folders.exists(path):
        return None
    values = folders.read_json(path)
    model = values.get("model") or {}
    if model.get("type") != "WordPiece":
        return None
    ids = {token: int(index) for token, index in model.get("vocab", {}).items()}
    for token in values.get("added_tokens") or []:
        ids[token["content"]] = token["id"]
    tokens = tuple(sorted(ids, key=ids.get))
    numbered = [ids[token] for token in tokens] == list(range(len(ids)))
    if not numbered or not set(vocab_lib.REQUIRED_TOKENS) <= ids.keys():
        raise ValueError(
            f"{path} holds no BERT vocabulary, whose ids are 0, 1, 2, ... and which "
            f"has {' '.join(vocab_lib.REQUIRED_TOKENS)}: put the vocab.txt beside it."
        )
    data = "".join(f"{token}\n" for token in tokens).encode()
    return vocab_lib.Vocabulary(tokens, path, data)


def _read_do_lower_case(folder: str) -> bool | None:
    if folders.exists(folder, run_files.TOKENIZER_CONFIG_FILE):
        values = folders.read_json(
            folders.join(folder, run_files.TOKENIZER_CONFIG_FILE)
        )
        if values.get("do_lower_case") is not None:
            return bool(values["do_lower_case"])
    if folders.exists(folder, TOKENIZER_FILE):
        values = folders.read_json(folders.join(folder, TOKENIZER_FILE))
        lowercase = (values.get("normalizer") or {}).get("lowercase")
        return None if lowercase is None else bool(lowercase)
    return None


def describe_lost_words(bert: pretrained.PretrainedBert, client: str) -> list[str]:
    """Warn of Chinese words in the vocabulary that a client's tokenizer never finds."""
    tokens = () if bert.vocabulary is None else bert.vocabulary.tokens
    count = sum(map(added_words.is_added_word, tokens))
    if not count:
        return []
    return [
        f"{client} sets every Chinese character apart, so that it never finds the "
        f"{count:,} words of several characters in the vocabulary; transformers finds "
        "them by tokenizer.json."
    ]


def write_vocabulary(bert: pretrained.PretrainedBert, folder: str) -> None:
    """Write vocab.txt, and do_lower_case into a file that Google's layout lacks.

    A model without a vocabulary gets neither.
    """
    if bert.vocabulary is None:
        return
    storage.write_whole(
        os.path.join(folder, run_files.VOCAB_FILE), bert.vocabulary.data
    )
    folders.write_json(
        os.path.join(folder, run_files.TOKENIZER_CONFIG_FILE),
        {"do_lower_case": lower_case(bert)},
    )


def build_tokenizer(
    vocabulary: vocab_lib.Vocabulary | fast_tokenizer.FastVocabulary,
    do_lower_case: bool,
) -> tokenization.Tokenizer | fast_tokenizer.FastTokenizer:
    """Return what cuts text into the tokens of a vocabulary.

    Args:
        vocabulary: of any family.
        do_lower_case: whether WordPiece lower-cases; other tokenizers know it
            themselves.
    """
    if isinstance(vocabulary, fast_tokenizer.FastVocabulary):
        return fast_tokenizer.FastTokenizer(vocabulary.tokenizer)
    return tokenization.Tokenizer(vocabulary, do_lower_case)


def lower_case(bert: pretrained.PretrainedBert) -> bool:
    """Return do_lower_case, guessed from the vocabulary if the input did not say."""
    if bert.do_lower_case is not None:
        return bert.do_lower_case
    if isinstance(bert.vocabulary, fast_tokenizer.FastVocabulary):
        return False
    return pretrained.guess_lower_case(bert.vocabulary)


def write_transformers_files(bert: pretrained.PretrainedBert, folder: str) -> None:
    """Write what transformers' AutoTokenizer reads, without importing transformers.

    A model without a vocabulary gets no file.
    """
    if bert.vocabulary is None:
        return
    if isinstance(bert.vocabulary, fast_tokenizer.FastVocabulary):
        for name, data in bert.vocabulary.files.items():
            storage.write_whole(os.path.join(folder, name), data)
        return
    write_vocabulary(bert, folder)
    do_lower_case = lower_case(bert)
    folders.write_json(
        os.path.join(folder, run_files.TOKENIZER_CONFIG_FILE),
        {
            **_SPECIAL_TOKENS,
            "do_lower_case": do_lower_case,
            "model_max_length": bert.config.max_length,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "tokenizer_class": "BertTokenizer",
        },
    )
    folders.write_json(os.path.join(folder, SPECIAL_TOKENS_FILE), _SPECIAL_TOKENS)
    tokenizer = build_fast_tokenizer(bert.vocabulary, do_lower_case)
    tokenizer.save(os.path.join(folder, TOKENIZER_FILE))


def build_fast_tokenizer(
    vocabulary: vocab_lib.Vocabulary, do_lower_case: bool
) -> tokenizers.Tokenizer:
    """Build the tokenizer that a BERT tokenizer.json describes.

    Accents are stripped when lower-casing, as google-research/bert does. The five
    special tokens are recognised in text, as in every transformers tokenizer; <S> and
    <T> are ordinary entries of the vocabulary.
    """
    tokenizer = tokenizers.Tokenizer(
        models.WordPiece(
            dict(vocabulary.ids),
            unk_token=vocab_lib.UNK,
            max_input_chars_per_word=_MAX_INPUT_CHARS_PER_WORD,
        )
    )
    tokenizer.add_special_tokens(list(vocab_lib.REQUIRED_TOKENS))
    # As they stand in the text, before it is normalized and split.
    words = filter(added_words.is_added_word, vocabulary.tokens)
    tokenizer.add_tokens([tokenizers.AddedToken(w, normalized=False) for w in words])
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=True,
        strip_accents=None,
        lowercase=do_lower_case,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=vocab_lib.CONTINUATION_PREFIX)
    cls, sep = vocab_lib.CLS, vocab_lib.SEP
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocabulary.cls_id), (sep, vocabulary.sep_id)],
    )
    return tokenizer
