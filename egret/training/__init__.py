"""Batch plan, data loading, optimisation, checkpoints."""
