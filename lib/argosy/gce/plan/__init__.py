"""Pure. What a project of Google Compute Engine must hold, and what differs from what it holds."""
