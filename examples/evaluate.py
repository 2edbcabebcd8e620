"""Score a model on labeled images of your own, and write a report.

Usage: python examples/evaluate.py IMAGES LABELS CLASSES REPORT [MODEL]

IMAGES and LABELS are folders (photo.jpg and photo.png), CLASSES is a JSON list of names, REPORT is a new folder.
"""

import sys

import segvoc

images, labels, classes, folder, *rest = sys.argv[1:]

model = segvoc.load(rest[0] if rest else "tiny", dtype="float32")  # scores to compare
data = segvoc.LabeledImages.from_folders(images, labels, classes)
report = segvoc.evaluate(model, data, folder)

print(f"mIoU {report['miou']:.1f} %, pixel accuracy {report['pixel_accuracy']:.1f} %")
print(f"open {folder}/index.html")
