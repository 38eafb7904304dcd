"""Error rates that can be trusted, and the choice made on dev."""
