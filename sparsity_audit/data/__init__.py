"""Corpora: images as they were stored, never augmented."""
