"""Adaptation: a segmenter learns from labelled source images and from what transfer made of them."""
