"""Values that flags offer. No TensorFlow is imported here: --help needs these names."""

# Values of --optimizer; `training.optimization.OPTIMIZERS` has the classes.
OPTIMIZERS = ("bert_adamw", "adamw", "lamb", "muon")
# Values of --kernel_initializer: BERT's, or a deviation of 1/sqrt(fan-in).
KERNEL_INITIALIZERS = ("truncated_normal", "lecun_normal")
# Values of --output_bias_initializer.
OUTPUT_BIAS_INITIALIZERS = ("zeros", "unigram")
# Values of --attention_initializer.
ATTENTION_INITIALIZERS = ("random", "neighbors")
# Values of --schedule: the learning rate after its warm-up, see `schedules`.
SCHEDULES = ("polynomial", "linear", "triangle", "cosine", "wsd")
# Values of --output_vocabulary.
OUTPUT_VOCABULARIES = ("all", "seen")
# Values of --precision: Keras's dtype policies, or the faster of the two on the devices
# at hand, see `precision`.
PRECISIONS = ("float32", "mixed_bfloat16", "auto")
