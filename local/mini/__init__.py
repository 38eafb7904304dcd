"""What local/mini_corpus.py is made of."""
