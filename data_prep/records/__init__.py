"""Tokens to records: packing, masking, encoding, counts and reports."""
