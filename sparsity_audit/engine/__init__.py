"""Rules over measures, and the audit as a whole."""
