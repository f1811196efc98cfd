"""Where and how the data stage runs: buckets, workers, Beam, resume."""
