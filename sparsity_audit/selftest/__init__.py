"""Networks with planted faults, and whether an audit finds exactly those."""
