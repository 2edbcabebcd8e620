"""Write src/segvoc/models/catalog.json: the models, recipes and files that can be named.

python -m tools.make_catalog
"""

from segvoc.checkpoints.published import PublishedFile
from segvoc.models.catalog import CATALOG, Catalog, ListedModel
from segvoc.models.preset import Preset
from segvoc.models.presets import PRESETS
from segvoc.models.weightless import weightless
from segvoc.storage.files import write_json
from segvoc.storage.records import to_json
from segvoc.training.recipes import RECIPES


def counts(preset: Preset) -> dict[str, int]:
    """How many parameters a preset's network has, and how many of these the published recipe trains."""
    with weightless():
        network = preset.build(preset.configuration)
    sizes = {name: value.numel() for name, value in network.named_parameters()}
    return {"parameters": sum(sizes.values()), "trainable": sum(sizes[key] for key in network.trainable_parameters())}


def made_catalog() -> Catalog:
    """What the tables of presets and recipes say."""
    models = {
        name: ListedModel(
            summary=preset.summary,
            ships=bool(preset.shipped),
            published=None if preset.published is None else preset.published.name,
            unconfirmed=None if preset.unconfirmed is None else preset.unconfirmed.name,
            encoders=tuple(file.name for file in preset.encoders if isinstance(file, PublishedFile)),
            fetches_encoders=bool(preset.fetched_encoders),
            how_to_get=preset.how_to_get,
            **counts(preset),
        )
        for name, preset in PRESETS.items()
    }
    return Catalog(models=models, recipes={name: recipe().model for name, recipe in RECIPES.items()})


if __name__ == "__main__":
    write_json(CATALOG, to_json(made_catalog()))
