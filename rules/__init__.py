"""Rule packs, as TOML; shipped in the wheel as ``sparsity_audit.rules``."""
