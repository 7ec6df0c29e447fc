"""What a router must do, decided from the directory, and its configuration as HAProxy reads it. All of it is pure."""
