"""Segmenters: nets, checkpoint directories, supervised training, predictions, metrics and evaluation."""
