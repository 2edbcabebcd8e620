"""Image and text encoders ("towers"): thin adapters that turn pixels and prompts into features."""
