"""Finding spec and study files, resolving them, and what can be told of a training before it starts; no torch."""
