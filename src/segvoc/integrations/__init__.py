"""Programs that people look at images with: their data sets in and out, and segvoc's results in them."""
