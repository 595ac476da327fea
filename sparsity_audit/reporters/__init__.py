"""Reports as text; they import the schema only."""
