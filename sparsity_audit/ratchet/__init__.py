"""A gate that lets the known through and nothing worse: baselines, waivers, differences of two reports."""
