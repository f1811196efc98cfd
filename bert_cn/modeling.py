"""The model: KerasHub's BERT encoder with our masked-LM and next-sentence heads.

Devlin et al., 2018, "BERT: Pre-training of Deep Bidirectional Transformers for Language
Understanding" (https://arxiv.org/abs/1810.04805).
"""

import functools

import keras
import keras_hub
import tensorflow as tf

from bert_cn import config as config_lib
from data_prep import schema

LAYER_NORM_EPSILON = 1e-12
# KerasHub's encoder draws its kernels from a truncated normal of this deviation.
_KERAS_HUB_INITIALIZER_RANGE = 0.02

SEQUENCE_OUTPUT = "sequence_output"
POOLED_OUTPUT = "pooled_output"
MLM_LOGITS = "mlm_logits"
NSP_LOGITS = "nsp_logits"

MLM_HEAD = "masked_lm_head"
NSP_HEAD = "next_sentence_head"


def gelu_tanh(x):
    """GELU by the tanh approximation, as google-research/bert computes it."""
    return keras.activations.gelu(x, approximate=True)


def gelu_exact(x):
    """GELU by the error function, which transformers calls "gelu"."""
    return keras.activations.gelu(x, approximate=False)


ACTIVATIONS = {config_lib.GELU_TANH: gelu_tanh, config_lib.GELU_EXACT: gelu_exact}


class MaskedLmHead(keras.layers.Layer):
    """Predicts the token at each masked position.

    Only the masked positions are computed. The output matrix is the token embedding
    table (tied), and the logits are float32 whatever the compute dtype, because
    bfloat16 logits over 21,128 tokens spoil the loss.
    """

    def __init__(
        self,
        config: config_lib.BertConfig,
        token_embedding: keras.layers.Embedding,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vocab_size = config.vocab_size
        self.token_embedding = token_embedding
        self.dense = keras.layers.Dense(
            config.hidden_size,
            activation=ACTIVATIONS[config.hidden_act],
            kernel_initializer=_initializer(config),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, dtype=self.dtype_policy, name="layer_norm"
        )

    def build(self, sequence_output_shape, positions_shape):
        """Create the weights; shapes as `call` takes them."""
        gathered_shape = (*positions_shape, sequence_output_shape[-1])
        self.dense.build(gathered_shape)
        self.layer_norm.build(gathered_shape)
        self.bias = self.add_weight(
            name="output_bias",
            shape=(self.vocab_size,),
            initializer="zeros",
            autocast=False,  # Added to float32 logits.
        )

    def call(self, sequence_output, positions):
        """Return logits.

        Args:
            sequence_output: float [batch, length, hidden].
            positions: int32 [batch, predictions], indices into length.

        Returns:
            float32 [batch, predictions, vocabulary].
        """
        gathered = keras.ops.take_along_axis(
            sequence_output, keras.ops.expand_dims(positions, -1), axis=1
        )
        hidden = self.layer_norm(self.dense(gathered))
        table = keras.ops.cast(self.token_embedding.embeddings, hidden.dtype)
        logits = keras.ops.matmul(hidden, keras.ops.transpose(table))
        return keras.ops.cast(logits, "float32") + self.bias

    def compute_output_spec(self, sequence_output, positions):
        """Return the symbolic logits, which are float32 under any dtype policy."""
        return keras.KerasTensor((*positions.shape, self.vocab_size), "float32")


def _initializer(config: config_lib.BertConfig) -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=config.initializer_range)


def build_encoder(config: config_lib.BertConfig) -> keras_hub.models.BertBackbone:
    """Build the encoder, inputs token_ids, segment_ids and padding_mask.

    Raises:
        ValueError: hidden and attention dropout differ, which KerasHub's encoder cannot
            express.
    """
    if config.hidden_dropout_prob != config.attention_probs_dropout_prob:
        raise ValueError(
            "hidden_dropout_prob and attention_probs_dropout_prob must be equal. "
            f"Received: {config.hidden_dropout_prob} and "
            f"{config.attention_probs_dropout_prob}. Set both to one value in the "
            "bert_config.json."
        )
    encoder = keras_hub.models.BertBackbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        hidden_dim=config.hidden_size,
        intermediate_dim=config.intermediate_size,
        dropout=config.hidden_dropout_prob,
        max_sequence_length=config.max_position_embeddings,
        num_segments=config.type_vocab_size,
        name="bert",
    )
    for layer in encoder.transformer_layers:
        layer._feedforward_intermediate_dense.activation = ACTIVATIONS[
            config.hidden_act
        ]
    _draw_dropout_per_replica(encoder)
    if config.initializer_range != _KERAS_HUB_INITIALIZER_RANGE:
        scale = config.initializer_range / _KERAS_HUB_INITIALIZER_RANGE
        for variable in encoder.trainable_variables:
            if variable.name in ("kernel", "embeddings"):
                variable.assign(variable * scale)
    return encoder


def _draw_dropout_per_replica(encoder: keras.Model) -> None:
    """Make every replica draw its own dropout masks.

    The states of Keras's seed generators are mirrored variables: without this, all
    replicas drop the same units.
    """

    def fold_in_replica(draw_seed, ordered=True):
        replicas = tf.distribute.get_replica_context()
        seed = draw_seed(ordered)
        if replicas is None or replicas.num_replicas_in_sync == 1:
            return seed
        replica = tf.cast(replicas.replica_id_in_sync_group, seed.dtype)
        return seed + tf.stack([replica, tf.zeros_like(replica)])

    for layer in encoder._flatten_layers():
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.next = functools.partial(fold_in_replica, generator.next)


def build_pretraining_model(config: config_lib.BertConfig) -> keras.Model:
    """Build encoder and heads as one functional model.

    Inputs, all int32: `input_ids`, `input_mask`, `segment_ids` [batch, length] and
    `masked_lm_positions` [batch, predictions].

    Outputs: `sequence_output` [batch, length, hidden] and `pooled_output`
    [batch, hidden] in the compute dtype; `mlm_logits` [batch, predictions, vocabulary]
    and `nsp_logits` [batch, 2] in float32 (class 1: the second part is a random one).
    The encoder is `model.get_layer("bert")`.
    """
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in (*schema.SEQUENCE_FEATURES, schema.MASKED_LM_POSITIONS)
    }
    encoder = build_encoder(config)
    outputs = encoder(
        {
            "token_ids": inputs[schema.INPUT_IDS],
            "segment_ids": inputs[schema.SEGMENT_IDS],
            "padding_mask": inputs[schema.INPUT_MASK],
        }
    )
    mlm_logits = MaskedLmHead(config, encoder.token_embedding, name=MLM_HEAD)(
        outputs["sequence_output"], inputs[schema.MASKED_LM_POSITIONS]
    )
    nsp_logits = keras.layers.Dense(
        2, kernel_initializer=_initializer(config), dtype="float32", name=NSP_HEAD
    )(keras.ops.cast(outputs["pooled_output"], "float32"))
    return keras.Model(
        inputs,
        {
            SEQUENCE_OUTPUT: outputs["sequence_output"],
            POOLED_OUTPUT: outputs["pooled_output"],
            MLM_LOGITS: mlm_logits,
            NSP_LOGITS: nsp_logits,
        },
        name="bert_pretraining",
    )


def freeze_sentence_head(model: keras.Model) -> None:
    """Take the pooler and the next-sentence head out of training.

    For the masked-LM loss alone, which reaches neither: with no gradient, weight decay
    would slowly wipe out what a checkpoint brought along. Call it before the optimizer
    is built.
    """
    model.get_layer("bert").pooled_dense.trainable = False
    model.get_layer(NSP_HEAD).trainable = False
