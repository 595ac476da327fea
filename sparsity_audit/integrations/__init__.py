"""Other programs that the audit runs inside of."""
