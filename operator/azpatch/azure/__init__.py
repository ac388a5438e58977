"""Azure: the port, and its adapters over the real SDKs. The only place that imports them."""
