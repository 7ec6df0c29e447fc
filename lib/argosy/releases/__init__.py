"""The releases of a cluster: which there are, what is in one, how two differ; another cluster's made one of its own.

differences  how two releases differ
usage        which one is wanted, and which ones machines have
contents     the files of a release, read out of the registry
listing      what `release.list` and `release.show` tell
comparing    what `release.diff` tells
promotion    a release of the very images that another cluster runs
"""
