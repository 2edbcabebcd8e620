"""Image files in, label maps and overlays out."""
