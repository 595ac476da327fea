"""Architectures of the zoo, and finding out whose weights a checkpoint holds."""
