"""Fine-tune tiny on labeled images of your own, and label one of them with the result.

Usage: python examples/fine_tune.py IMAGES LABELS CLASSES RUN [NAME=VALUE ...]

RUN is a new folder. NAME=VALUE changes the recipe: steps=500 lr=1e-3 ...
"""

import sys

import segvoc


def main() -> None:
    """Train, load what was learned, segment."""
    images, labels, classes, run, *settings = sys.argv[1:]
    data = segvoc.LabeledImages.from_folders(images, labels, classes)
    recipe = segvoc.recipes.finetune("tiny", images=len(data)).with_settings(settings)
    segvoc.train(recipe, data, run)  # stopped halfway, resume=True continues it

    model = segvoc.load(f"{run}/model.safetensors")
    result = model.segment(data.images[0].image, data.vocabulary)
    result.save(f"{run}/look")
    print(f"look at {run}/curves.png and {run}/look")


if __name__ == "__main__":  # the data loader starts processes, which import this file
    main()
