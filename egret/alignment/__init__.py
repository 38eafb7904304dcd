"""When each token of a text was spoken."""
