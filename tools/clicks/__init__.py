"""Makes the network of the page's clicks."""
