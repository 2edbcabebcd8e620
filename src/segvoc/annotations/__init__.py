"""Labels as other programs write them down: connected regions, outlines, and the entries of COCO and LabelMe."""
