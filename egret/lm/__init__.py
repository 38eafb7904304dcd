"""Language models: KenLM n-grams."""
