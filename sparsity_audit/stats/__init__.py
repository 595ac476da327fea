"""Statistics of activations over a corpus, mergeable."""
