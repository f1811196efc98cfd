"""--freeze: which parts of the encoder training leaves as they are."""

import re

import keras

_LAYERS = re.compile(r"layers:(\d+)(?:-(\d+))?")


def freeze(model: keras.Model, names: str) -> None:
    """Take parts of a model out of training. Call it before the optimizer is built.

    The output matrix of masked LM is the token embedding table and is frozen with it.

    Args:
        model: from `pretraining_model.build_pretraining_model`.
        names: "embeddings", "layers:0-5" or "layers:3", with commas between; "" for
            none.

    Raises:
        ValueError: it names something else, or a layer that the model does not have.
    """
    encoder = model.get_layer("bert")
    for name in filter(None, names.split(",")):
        for layer in _find_layers(encoder, name, names):
            layer.trainable = False


def _find_layers(encoder, name: str, names: str) -> list[keras.layers.Layer]:
    if name == "embeddings":
        return [
            encoder.token_embedding,
            encoder.position_embedding,
            encoder.segment_embedding,
            encoder.embeddings_layer_norm,
        ]
    match = _LAYERS.fullmatch(name)
    if match is None:
        raise ValueError(
            f"--freeze={names}: {name!r} is no part of the encoder: write embeddings, "
            "layers:0-5 or layers:3, with commas between."
        )
    first, last = int(match[1]), int(match[2] or match[1])
    count = len(encoder.transformer_layers)
    if not first <= last < count:
        raise ValueError(
            f"--freeze={names}: {name} are no layers of this model, which has 0 to "
            f"{count - 1}."
        )
    return encoder.transformer_layers[first : last + 1]
