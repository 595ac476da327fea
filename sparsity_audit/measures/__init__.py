"""Named quantities that rules put limits on."""
