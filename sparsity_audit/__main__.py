"""``python -m sparsity_audit``."""

from sparsity_audit.cli.main import main

main()
