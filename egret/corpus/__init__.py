"""Cut manifests: from a corpus's own files to validated Lhotse cuts."""
