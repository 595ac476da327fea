"""What can be removed, and what that saves."""
