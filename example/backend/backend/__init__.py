"""The example's backend."""
