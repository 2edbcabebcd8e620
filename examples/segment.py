"""Label a photograph with your own words, and look at the result.

Usage: python examples/segment.py [PHOTO [FOLDER]]
"""

import sys

import segvoc

photo = sys.argv[1] if len(sys.argv) > 1 else "photo.jpg"
folder = sys.argv[2] if len(sys.argv) > 2 else "out"

model = segvoc.load("tiny")
result = model.segment(photo, ["cat", "blanket", "sofa", "wall"])

# labels: (H, W), the index of each pixel's word; 65535 would be an unlabeled pixel
for index, word in enumerate(result.words):
    mask = result.labels == index
    if mask.any():
        print(f"{word:10} {mask.mean():6.1%} of the image, mean confidence {result.confidence[mask].mean():.2f}")

result.save(folder)  # label map, overlay and JSON report, as the command writes them
result.overlay(alpha=0.6).save(f"{folder}/look.png")
print(f"look at {folder}/look.png")
