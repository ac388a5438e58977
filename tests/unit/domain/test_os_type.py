"""A machine's operating system, where its model is silent."""

from __future__ import annotations

import pytest
from domain_builders import DEFINITION, VERSION, machine

from azpatch.api.common import OsType
from azpatch.api.target import ImageStatus
from azpatch.domain.facts import ImageDefinition, ImageReference, Unread
from azpatch.domain.ids import key
from azpatch.domain.image import classify, with_os_type


def named(publisher: str, offer: str = "o", id: str | None = None) -> ImageReference:
    return ImageReference(id=id, publisher=publisher, offer=offer, sku="s")


LINUX_DEFINITION = ImageDefinition(DEFINITION, "Generalized", OsType.LINUX)
WINDOWS_DEFINITION = ImageDefinition(DEFINITION, "Generalized", OsType.WINDOWS)


@pytest.mark.parametrize(
    ("model", "reference", "definition", "os_type", "evidence"),
    [
        pytest.param(
            OsType.LINUX,
            named(publisher="MicrosoftWindowsServer"),
            WINDOWS_DEFINITION,
            OsType.LINUX,
            None,
            id="the model says it, whatever else",
        ),
        *(
            pytest.param(
                None,
                named(publisher=publisher, offer=offer),
                None,
                OsType.WINDOWS,
                f"osType is missing; {publisher} tells Windows.",
                id=f"publisher {publisher}: Windows",
            )
            for publisher, offer in (
                ("MicrosoftWindowsServer", "WindowsServer"),
                ("microsoftwindowsserver", "WindowsServer"),
                ("MicrosoftSQLServer", "SQL2022-WS2022"),
                ("MicrosoftDynamicsAX", "Dynamics"),
                ("MicrosoftAzureSiteRecovery", "Process-Server"),
                ("MicrosoftBizTalkServer", "BizTalk-Server"),
                ("MicrosoftPowerBI", "x"),
                ("MicrosoftSharePoint", "MicrosoftSharePointServer"),
                ("MicrosoftWindowsServerHPCPack", "WindowsServerHPCPack"),
                ("MicrosoftVisualStudio", "VisualStudio"),
            )
        ),
        pytest.param(
            None,
            named(publisher="MicrosoftSQLServer", offer="sql2019-rhel8"),
            None,
            None,
            "osType is missing, and nothing else tells it.",
            id="SQL Server on Linux is not Windows",
        ),
        pytest.param(
            None,
            ImageReference(id=VERSION),
            LINUX_DEFINITION,
            OsType.LINUX,
            "osType is missing; the definition's is Linux.",
            id="else the image definition says it",
        ),
        pytest.param(
            None,
            named(publisher="MicrosoftWindowsServer", id=VERSION),
            LINUX_DEFINITION,
            OsType.WINDOWS,
            "osType is missing; MicrosoftWindowsServer tells Windows.",
            id="the publisher goes before the definition",
        ),
        pytest.param(
            None,
            ImageReference(id=VERSION),
            Unread.REFUSED,
            None,
            "osType is missing, and nothing else tells it.",
            id="nothing says it",
        ),
        pytest.param(
            None,
            None,
            None,
            None,
            "osType is missing, and nothing else tells it.",
            id="nothing is there",
        ),
    ],
)
def test_the_operating_system_is_told_where_the_model_is_silent(
    model: OsType | None,
    reference: ImageReference | None,
    definition: ImageDefinition | Unread | None,
    os_type: OsType | None,
    evidence: str | None,
) -> None:
    silent = machine(image=reference, os_type=model)
    definitions = {} if definition is None else {key(DEFINITION): definition}

    image = classify(silent, definitions)

    assert image.os_type is os_type
    assert with_os_type(silent, image) == machine(image=reference, os_type=os_type)
    if evidence is None:
        assert "osType" not in image.evidence
    else:
        assert image.evidence.endswith(f". {evidence}")
    status = ImageStatus(image_class=image.image_class, evidence=image.evidence)
    assert status.evidence == image.evidence, "it fits"
