"""How words are tuned to images of one's own while a network stays as it is (`method=words`)."""

from dataclasses import replace

from segvoc.training.recipe import OptimizerConfig, Recipe, RuntimeConfig, TunedWordsConfig


def tuned_words(recipe: Recipe, images: int, steps: int | None = None) -> Recipe:
    """Tune words on the features of a recipe's network: a small pyramid, and a classifier for each word.

    Fewer images get more views each, and more of them more steps. A tenth of them, and at least two, are held out to
    choose the best weights, unless there are fewer than eight.

    Args:
        recipe: the network, and how its images are augmented.
        images: number of labeled images.
        steps: number of steps, at five of which the held-out images are scored; None: by the number of images.
    """
    held_out = 0 if images < 8 else min(50, max(2, round(images / 10)))
    steps = steps or min(3000, 900 + 4 * images)
    return replace(
        recipe,
        method="words",
        optimizer=OptimizerConfig(
            steps=steps,
            batch_size=2,
            lr=1.5e-2,
            weight_decay=1e-2,
            warmup_steps=20,
            max_grad_norm=1.0,
            trainable="none",
        ),
        data=replace(recipe.data, num_val_images=held_out),
        words=TunedWordsConfig(views=max(1, min(6, round(180 / max(1, images))))),
        runtime=RuntimeConfig(
            num_workers=2, save_every=100, eval_every=max(1, steps // 5), eval_first=True, patience=2 if held_out else 0
        ),
    )
