"""Audit trained CNNs for the filters that training silently killed."""
