"""Keep this machine's HAProxy as etcd says: servers at run time, structure by reloads."""
