r"""Convert a BERT checkpoint from any of the formats into another.

    python -m bert_cn.convert_checkpoint --input=out/tiny --output_format=pt \
        --output_dir=out/tiny_pt

Formats: tf1 (google-research/bert), tf2 (tf_model.h5 of transformers 4), keras
(KerasHub preset), pt (transformers with PyTorch), sentence_transformers (the encoder
with mean pooling), model_garden (TF Model Garden), onnx (only written). The input may
also be a training output folder.
"""

from bert_cn.conversion import flags
from data_prep import command_line

flags.define_flags()


def main(arguments: list[str]) -> None:
    """Convert as the flags say."""
    command_line.refuse_arguments(arguments)
    args = flags.read_flags()

    # Imports TensorFlow, which takes seconds: --help and a wrong flag do not wait.
    from bert_cn.conversion import convert

    convert.convert(args)


if __name__ == "__main__":
    command_line.run_command(main)
