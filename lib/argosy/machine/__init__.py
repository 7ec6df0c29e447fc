"""One machine of a cluster: its install, what it says of itself, and reaching into it."""
