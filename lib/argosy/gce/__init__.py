"""Servers in Google Compute Engine, the cluster's machines among them.

creating, destroying   gce.create, gce.destroy
balancing              gce.balancer
planning               gce.plan
listing, reaching      gce.list, gce.ssh, gce.put, gce.get
entry                  gce.entry-node
checking               gce.auth, gce.newest-image

observing, applying    what there is, and the plan's requests (argosy.gce.plan decides)
user_data              what a server boots with
pinning, delivering    its ssh host keys, its secrets
membership             how a core machine joins and leaves its cluster
"""
