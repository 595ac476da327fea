"""The thresholds that decide whether a filter is dead, in one place."""

GAMMA_THRESHOLD = 1e-3
"""A feature is inactive by scale below this |γ| (Sec. 2.1)."""
ACTIVATION_THRESHOLD = 1e-12
"""A feature is inactive by activation when its |activation| never exceeds this (Sec. 2.1)."""
CONSTANT_TOLERANCE = 1e-6
"""A feature is constant when max − min over corpus and plane is at most this."""
UNIVERSALITY_THRESHOLD = 1e-3
"""An image counts for a feature whose pooled activation, over its maximum, exceeds this (Sec. 2.3)."""
