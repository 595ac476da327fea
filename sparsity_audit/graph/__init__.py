"""The feature graph of a model: feature layers, who feeds whom, where to observe."""
