"""Pure. fleet's unit files become scheduled services."""
