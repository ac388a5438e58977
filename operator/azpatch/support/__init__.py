"""`azpatch support`: what Azure can patch, asked without a cluster and without Azure.

`command` has the options, `reading` makes facts of what the Azure CLI printed, `judging` asks the
operator's own decisions, `answers` is the shape of what comes out, `printing` its forms.
"""
