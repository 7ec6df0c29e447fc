"""A local cluster from nothing to healthy, and back: the host's containers, the machines, and what ties them."""
