"""The configuration: its sections, types and defaults, validated into one frozen model of settings (`loading`)."""
