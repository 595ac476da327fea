"""Zoo specs and checkpoints; shipped in the wheel as ``sparsity_audit.zoo``."""
