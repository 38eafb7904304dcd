"""Text normalisation, units and the lexicon."""
