"""The commands `segvoc annotate`, `segvoc project` and `segvoc page`."""
