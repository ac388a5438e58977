"""A small laboratory: a real Kubernetes control plane, the chart on it, azsim and the operator.

Shared by the tests, the demo and the benchmark; never shipped. Everything it starts ends with the
process that started it, however that process ends (see ``lab.child``).

- ``lab.binaries``      etcd, kube-apiserver, kubectl, helm and the rest: found, or built with Go
- ``lab.controlplane``  one running control plane: ``ControlPlane``
- ``lab.chart``         the CRDs and the chart on it
- ``lab.processes``     azsim and the operator as processes
- ``lab.background``    ``make controlplane`` and ``make controlplane-stop``
"""
