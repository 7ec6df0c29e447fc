"""The secrets of a cluster: where they come from, how they reach the machines, and which checkout may bring them.

names value sources    the files, and what is in them: a file here, what a command prints, what is made once
logins                 those of registries, as Docker has them
upload transfer        each machine's files, and how they take the place of what it has
uses                   what on a machine uses which secrets
generations checkout   the cluster's record of its sets of secrets; what a checkout remembers of it
deciding syncing       whether a checkout may bring its set to the machines; bringing it
choosing fetching      which set a checkout gets from the machines; getting it
"""
