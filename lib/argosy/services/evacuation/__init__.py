"""Move the instances of scheduled services off a machine before it is taken out of service."""
