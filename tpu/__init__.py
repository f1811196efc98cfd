"""Everything around a TPU: strategy, health, supervision, preflight."""
