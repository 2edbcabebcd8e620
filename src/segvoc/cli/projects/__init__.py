"""The commands of `segvoc project`, one file each."""
