"""Bring a new generation of a scheduled service into service beside the old one; resumable by anyone.

run          what the tasks call: a real cluster behind the interfaces
begin        begin an update, resume one, or turn it back
transitions  what comes next, and what the record becomes; plan: generations and shares; record: the record itself
driver       does what comes next (see argosy.cluster.driver), steps: what is done at each step
interfaces   who updates a service, and with what; events: what is told of it; journal: where its records stand

Instances are watched, waited for and changed as for any other change (argosy.services.serving, waiting, applying).
"""
