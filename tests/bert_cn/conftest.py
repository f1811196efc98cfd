"""Checkpoints of small random models, and flags of pretraining."""

import numpy as np
import pytest
from absl import flags as absl_flags

from bert_cn.conversion import pretrained, weight_map
from bert_cn.model import config as config_lib
from bert_cn.pretraining import flags as pretraining_flags
from bert_cn.pretraining import settings as settings_lib
from data_prep.text import vocab as vocab_lib

TOKENS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<S>", "<T>"),
    *"使用语言模型来预测下一个词的。，国中北京首都是",
    *(
        "pro",
        "##ba",
        "##bility",
        "Bert",
        "bert",
        "cafe",
        "[",
        "]",
        "mask",
        "<",
        "s",
        ">",
    ),
)


@pytest.fixture(scope="session")
def vocab_file(tmp_path_factory):
    """A vocab.txt of the size that `build_bert` uses."""
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(TOKENS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def build_bert(vocab_file):
    """Build a `PretrainedBert` with random weights of a natural size."""

    def build(parts=weight_map.ALL_PARTS, seed=0, **settings):
        defaults = {
            "vocab_size": len(TOKENS),
            "hidden_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 20,
            "max_position_embeddings": 16,
        }
        config = config_lib.BertConfig(**(defaults | settings))
        generator = np.random.default_rng(seed)
        weights = {}
        for weight in weight_map.list_weights(config, parts):
            array = generator.normal(0, 0.3, weight.shape)
            centre = 1.0 if weight.name.endswith("gamma") else 0.0
            weights[weight.name] = (array + centre).astype(np.float32)
        return pretrained.PretrainedBert(
            config=config,
            weights=weights,
            source="a random model",
            do_lower_case=False,
            vocabulary=vocab_lib.load_vocabulary(str(vocab_file)),
        )

    return build


@pytest.fixture(scope="session")
def assert_same_weights():
    """Check that two checkpoints hold the same bits."""

    def check(left: pretrained.PretrainedBert, right: pretrained.PretrainedBert):
        assert left.weights.keys() == right.weights.keys()
        for name, array in left.weights.items():
            other = right.weights[name]
            assert array.dtype == other.dtype == np.float32, name
            assert array.tobytes() == other.tobytes(), name

    return check


@pytest.fixture
def parse_recipe():
    """Returns a function: command line -> `PretrainingArgs`, by flags of its own.

    The flags of several commands have the same names, so that they cannot all be
    defined in this process's `FLAGS`.
    """

    def parse(*arguments: str) -> settings_lib.PretrainingArgs:
        values = absl_flags.FlagValues()
        pretraining_flags.define_flags(values)
        values(["command", *arguments])
        return pretraining_flags.read_flags(values)

    return parse
