"""Keep files of the system as etcd's keys say (docs/templates.md)."""
