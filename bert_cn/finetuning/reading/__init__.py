"""Reading comprehension: SQuAD 1.1 and 2.0, CMRC 2018, DRCD."""
