"""What a project of Google Compute Engine shall hold, and what differs from what it holds. Pure."""
