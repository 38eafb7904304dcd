"""Encoders, heads and losses; each encoder one file."""
