"""What runs on each machine: one process that registers instances, keeps the router up to date and renders templates.

It stays small (no pydantic, Docker SDK, httpx, cryptography), so nothing of `argosy.config.loading` is imported here.
`python3 -m argosy.agent` starts it, `python3 -m argosy.agent health` asks a running one.
"""
