"""Names that flags offer: of formats, parts and poolings. Imports nothing heavy."""

AUTO = "auto"
TRAINING = "training"
TF1 = "tf1"
TF2 = "tf2"
KERAS = "keras"
PT = "pt"
SENTENCE_TRANSFORMERS = "sentence_transformers"
MODEL_GARDEN = "model_garden"
ONNX = "onnx"
UER = "uer"

INPUT_FORMATS = (
    *(TRAINING, TF1, TF2, KERAS, PT, SENTENCE_TRANSFORMERS, MODEL_GARDEN),
    UER,
)
OUTPUT_FORMATS = (TF1, TF2, KERAS, PT, SENTENCE_TRANSFORMERS, MODEL_GARDEN, ONNX)

# How a sentence's embedding is made of its tokens' states.
POOLINGS = ("mean", "cls", "max", "weighted_mean", "first_last_mean")
