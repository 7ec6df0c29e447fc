"""More operators than the checkout that set the cluster up: a bundle for each, with keys and rights of its own.

bundle     what another checkout needs, in one file that is encrypted by age
keys       what opens a bundle, and what an operator is made of in the checkout that adds it
adding     operator.add: keys, record, a place on each machine, the bundle
joining    operator.join: the bundle's files in another checkout
removing   operator.remove: no rights, no way in by ssh
listing    operator.list

Who is an operator is in argosy.cluster.operator_record, and the check of rights in argosy.cluster.operators.
"""
