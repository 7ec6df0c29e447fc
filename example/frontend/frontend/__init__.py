"""The example's frontend."""
