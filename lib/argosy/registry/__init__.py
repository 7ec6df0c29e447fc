"""The Docker registry of a cluster: run it, upload to it, see what it holds, prune it.

client, auth   the protocol: what a registry has, and how it learns who asks
manifests      what its documents say
container      our own registry as a container: start, stop, status
access         reading it: current_images, current_release
push           uploading what it lacks
contents       listing and pruning
trust          the local engine's trust in it
"""
