"""`azpatch windows`: when a policy's windows open, asked without a cluster.

`command` has the options, `reading` makes models of manifests that no API server has seen,
`answers` is the shape of what comes out, and how it is printed.
"""
