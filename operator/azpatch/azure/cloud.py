"""Where an Azure cloud is: public Azure, a sovereign one, or the simulated one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """The endpoints of one cloud, and how to trust them."""

    arm_endpoint: str
    """Azure Resource Manager, `https://host[:port]`. Resource Graph is served there too."""
    authority_host: str
    """Where identities sign in, `https://host[:port]`."""
    ca_file: str | None = None
    """PEM file of the CAs to trust; None trusts those of the system."""
    token_scope: str | None = None
    """Scope of ARM's tokens; None derives it from `arm_endpoint`, wrong only for US Government."""

    def __post_init__(self) -> None:
        for name, url in (
            ("arm_endpoint", self.arm_endpoint),
            ("authority_host", self.authority_host),
        ):
            parts = urlsplit(url)
            if parts.scheme != "https" or not parts.hostname or parts.username:
                raise ValueError(f"{name} must be https://host[:port], not {url!r}")

    @property
    def base_url(self) -> str:
        """`arm_endpoint` without a trailing slash."""
        return self.arm_endpoint.rstrip("/")

    @property
    def scope(self) -> str:
        """What an ARM token is asked for."""
        return self.token_scope or f"{self.base_url}/.default"

    @property
    def instance_discovery(self) -> bool:
        """Whether public Azure can vouch for the authority; it knows only the clouds named here."""
        known = {urlsplit(cloud.authority_host).hostname for cloud in CLOUDS.values()}
        return urlsplit(self.authority_host).hostname in known

    def serves(self, url: str) -> bool:
        """Whether a URL that ARM handed out leads to ARM itself, so that a token may go there."""
        try:
            there, here = urlsplit(url), urlsplit(self.arm_endpoint)
            return there.username is None and _origin(there) == _origin(here)
        except ValueError:
            return False


def _origin(url: SplitResult) -> tuple[str, str | None, int]:
    return url.scheme, url.hostname, url.port or HTTPS_PORT


AZURE_PUBLIC = CloudSettings("https://management.azure.com", "https://login.microsoftonline.com")
AZURE_US_GOVERNMENT = CloudSettings(
    "https://management.usgovcloudapi.net",
    "https://login.microsoftonline.us",
    token_scope="https://management.core.usgovcloudapi.net/.default",
)
AZURE_CHINA = CloudSettings("https://management.chinacloudapi.cn", "https://login.chinacloudapi.cn")

CLOUDS: Mapping[str, CloudSettings] = MappingProxyType(
    {
        "AzurePublic": AZURE_PUBLIC,
        "AzureUSGovernment": AZURE_US_GOVERNMENT,
        "AzureChina": AZURE_CHINA,
    }
)
"""The clouds that Microsoft runs, by the name a user gives. Source: azure-core's `AzureClouds`."""
