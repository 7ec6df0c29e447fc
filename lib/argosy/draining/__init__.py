"""Take a machine out of service and put it back."""
