"""Studies: running what is missing, gathering what was run, comparing it."""
