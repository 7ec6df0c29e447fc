"""The example's scheduled service."""
