"""The published networks, one file each."""
