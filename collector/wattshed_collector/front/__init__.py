"""What owns a fresh connection: the lane of pushed metrics, before aiohttp's server."""
