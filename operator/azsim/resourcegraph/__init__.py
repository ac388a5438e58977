"""Resource Graph: KQL over tables made from the fleet's state."""

from azsim.resourcegraph.handler import routes

__all__ = ["routes"]
