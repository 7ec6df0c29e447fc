"""Register the instances that run on this machine in etcd, each as long as it is healthy."""
