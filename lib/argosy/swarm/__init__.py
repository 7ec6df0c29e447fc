"""Docker Swarm in the life of a cluster: who manages it, who is in it, who takes instances."""
