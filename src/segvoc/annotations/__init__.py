"""Labels in other tools' terms: connected components, polygons, and the entries of COCO and LabelMe."""
