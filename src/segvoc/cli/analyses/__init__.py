"""The analyses of `segvoc analyze`, one file each, imported when called."""
