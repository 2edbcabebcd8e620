"""Image and text towers: thin adapters that turn pixels and prompts into features."""
