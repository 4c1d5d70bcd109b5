"""Which category a prompt is of: routers, and the folders that hold them."""
