"""The cluster's CA and its certificates."""
