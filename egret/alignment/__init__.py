"""When each word of a text was spoken, how surely, and long recordings cut up by it."""
