"""Slim networks: made, verified, timed, compared with others."""
