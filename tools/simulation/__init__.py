"""A deterministic simulation of the whole operator, in virtual time.

The operator's own layers run unchanged on a virtual event loop (`loop`), above azsim's core
(`wire`) and an API server in memory (`apiserver`, `kube`). One seed decides everything that chance
decides: the fleet, the policies, what goes wrong and when. See docs/reliability.md.
"""
