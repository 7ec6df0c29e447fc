"""A cluster that is changed: opened, locked, its changes recorded step by step, driven to their end and noted."""
