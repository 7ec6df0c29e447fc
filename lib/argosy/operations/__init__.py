"""Effects on machines and real systems, one capability per file."""
