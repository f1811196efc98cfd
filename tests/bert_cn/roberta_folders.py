"""Small random RoBERTa and XLM-R models with tokenizers, written by transformers."""

import pathlib

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers as trainers_lib

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
TEXTS = [
    "今天天气很好，我们去公园。",
    "The weather is good today, we go to the park.",
    "使用语言模型 predict 下一个词 (probability 0.5)。",
    "  两个空格，　全角空格\tTab 😀 é",
]
POSITIONS = 66
CLASSES = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}
MODEL_TYPES = tuple(CLASSES)


def train_bpe() -> tokenizers.Tokenizer:
    """Return a byte-level BPE tokenizer as roberta-base has it."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers_lib.BpeTrainer(
        vocab_size=500,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def train_unigram() -> tokenizers.Tokenizer:
    """Return a Unigram tokenizer as xlm-roberta-base has it."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers_lib.UnigramTrainer(
        vocab_size=200,
        special_tokens=list(SPECIAL),
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


def write(
    folder: pathlib.Path, model_type: str, kind: str = "Model", **sizes
) -> torch.nn.Module:
    """Write a random model with its tokenizer; return it.

    Args:
        folder: to make.
        model_type: "roberta" or "xlm-roberta".
        kind: the rest of transformers' class, such as "ForMaskedLM".
        **sizes: of the configuration, in place of small ones.
    """
    fast = train_bpe() if model_type == "roberta" else train_unigram()
    special = dict(zip(("cls", "pad", "sep", "unk", "mask"), SPECIAL, strict=True))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, **{f"{name}_token": x for name, x in special.items()}
    )
    prefix = CLASSES[model_type]
    small = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 40,
        "max_position_embeddings": POSITIONS,
        # Small models need large weights to tell anything apart.
        "initializer_range": 0.3,
    }
    config = getattr(transformers, f"{prefix}Config")(
        **small | sizes,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}{kind}")(config).eval()
    # The row of padding is 0 in a new model, and other biases too.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += config.initializer_range / 6 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model
