"""The resources of group `azpatch.dev`, version `v1alpha1`: pydantic models, and their CRDs.

No I/O and no kopf here. `common` has what the kinds share, `durations` the two duration formats,
`reasons` every reason a condition may give, `markers` and `schema` what turns a model into a
structural schema, `crd` the CustomResourceDefinitions. Azure's vocabulary can be had from here.
"""

from azpatch.api.common import (
    DetectedState,
    ImageClass,
    MachineKind,
    OperationName,
    OsType,
    Support,
)

__all__ = ["DetectedState", "ImageClass", "MachineKind", "OperationName", "OsType", "Support"]
