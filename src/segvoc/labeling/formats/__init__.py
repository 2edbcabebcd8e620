"""Results as datasets in the formats of other programs, such as COCO, LabelMe, CVAT and YOLO."""
