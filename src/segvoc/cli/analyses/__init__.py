"""The analyses of `segvoc analyze`, one file each; each is imported only when it is called."""
