"""Scheduled services: instances that Docker Swarm places, found by discovery."""
