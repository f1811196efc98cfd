"""Print how many parameters each model has.

    python -m bert_cn.count_params                              # configs/models/*.json
    python -m bert_cn.count_params --checkpoint=out/tiny        # a real one, by part

"encoder" is what transformers' BertModel holds (embeddings, layers and pooler), the
figure of published tables; "pretraining" adds both heads, the tied output matrix
counted once.
"""

import math
import os

from absl import flags

from bert_cn.conversion import weight_map
from bert_cn.model import config as config_lib
from data_prep import command_line, recipe_files, storage

_BERT_CONFIG_FILES = flags.DEFINE_string(
    "bert_config_files", "configs/models/*.json", "The bert_config.json files: a glob."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "",
    "Count this checkpoint instead: anything convert_checkpoint reads.",
)
_ROW = "{:<16}{:>7}{:>8}{:>7}{:>12}{:>9}{:>13}"


def main(arguments: list[str]) -> None:
    """Print the table of configurations, or one checkpoint's parts."""
    command_line.refuse_arguments(arguments)
    if _CHECKPOINT.value:
        print_checkpoint(_CHECKPOINT.value)
    else:
        print_configs(_BERT_CONFIG_FILES.value)


def print_configs(pattern: str) -> None:
    """Print one line for each configuration, the smallest first."""
    paths = storage.glob(recipe_files.find_file(pattern))
    if not paths:
        raise ValueError(
            f"--bert_config_files={pattern!r} matches no file: name "
            "bert_config.json files."
        )
    configs = [(_name(path), config_lib.load_config(path)) for path in sorted(paths)]
    configs.sort(key=lambda pair: weight_map.count_parameters(pair[1]))
    print("Parameters in M.")
    print(
        _ROW.format(
            *("model", "layers", "hidden", "heads", "vocabulary", "encoder"),
            "pretraining",
        )
    )
    for name, config in configs:
        encoder = weight_map.count_parameters(config)
        whole = weight_map.count_parameters(config, weight_map.ALL_PARTS)
        print(
            _ROW.format(
                name,
                config.num_hidden_layers,
                config.hidden_size,
                config.num_attention_heads,
                config.vocab_size,
                f"{encoder / 1e6:.1f}",
                f"{whole / 1e6:.1f}",
            )
        )


def _name(path: str) -> str:
    """Return "tiny" for .../bert_tiny_cn.json."""
    stem = os.path.basename(path).removesuffix(".json")
    return stem.removeprefix("bert_").removesuffix("_cn")


def print_checkpoint(path: str) -> None:
    """Print the parameters of each part of a checkpoint, counted on its own weights."""
    # Imports TensorFlow, which takes seconds; the table of configurations needs none.
    from bert_cn.conversion import formats

    bert = formats.read_checkpoint(path)
    counts = dict.fromkeys(bert.parts, 0)
    for weight in weight_map.list_weights(bert.config, bert.parts):
        counts[weight.part] += math.prod(bert.weights.shapes[weight.name])
    config = bert.config
    print(
        f"{path}: {config.num_hidden_layers} layers, hidden {config.hidden_size}, "
        f"{config.num_attention_heads} heads, vocabulary {config.vocab_size}"
    )
    for part, count in counts.items():
        print(f"{part:<20}{count:>13,}")
    encoder = sum(counts.get(part, 0) for part in weight_map.ENCODER_PARTS)
    print(f"{'encoder and pooler':<20}{encoder:>13,}  ({encoder / 1e6:.1f} M)")
    print(f"{'all':<20}{sum(counts.values()):>13,}")


if __name__ == "__main__":
    command_line.run_command(main)
