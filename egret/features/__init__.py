"""Filter banks: extraction, storage, mean and variance."""
