"""Bring a new generation of a scheduled service into service beside the old one; resumable by anyone.

running     the tasks' way in: a real cluster behind the seams
deciding    begin, go on, turn back: whichever the wish and the journal come to
driver      goes from step to step, with the journal before and after each
steps       what is done at each step
looking     what is seen of the instances, and waited for
seams       what all these need of Swarm, of routers and of etcd

engine      the real Swarm, routers: the real routers, through ssh
"""
