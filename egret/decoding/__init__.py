"""From features to words: every decoding method."""
