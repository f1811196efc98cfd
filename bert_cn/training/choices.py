"""Values that flags offer. No TensorFlow is imported here: --help needs these names."""

# Values of --optimizer; `training.optimization.OPTIMIZERS` has the classes.
OPTIMIZERS = ("bert_adamw", "adamw", "lamb")
# Values of --precision, Keras's dtype policies.
PRECISIONS = ("float32", "mixed_bfloat16")
