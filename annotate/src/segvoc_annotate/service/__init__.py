"""A project that is served: several people label its images in their browsers."""
