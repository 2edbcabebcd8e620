"""Original downloads to label maps, and the manifest that vouches for them."""
