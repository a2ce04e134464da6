"""Where exported models are found: by an experiment, or by what a user names.

What a registry holds lives in `registry.py`. In: an experiment, a name. Out: a registry, a model.
"""

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.storage.files import exists
from experiment_pipeline.storage.locations import location, storage_root
from experiment_pipeline.storage.manifest import MANIFEST
from experiment_pipeline.storage.registry import EXPERIMENT, ExportedModel, Registry


def registry_of(spec: ExperimentSpec) -> Registry:
    """Return where an experiment's models go: the YAML's export url, else the storage root."""
    return Registry(location(spec.export.url) if spec.export.url else storage_root(), spec.name)


def find_model(name: str) -> ExportedModel:
    """Return the model that a user names.

    Args:
        name: a version's folder, a folder or URL `<root>/<experiment>`, or an experiment's
            name under the storage root; the last two mean the champion.

    Raises:
        InvalidModel: there is none.
    """
    here = location(name)
    if exists(here / MANIFEST):
        return ExportedModel(here)
    places = [here]
    if EXPERIMENT.fullmatch(name):
        places.append(storage_root() / name)
    for place in places:
        registry = Registry(place.parent, place.name)
        if (version := registry.champion()) is not None:
            return registry.model(version)
    raise InvalidModel(
        name,
        "is neither the folder of a version nor an experiment with an exported model "
        f"(looked in {' and '.join(map(str, places))})",
        "Export a model first, or name the folder that holds its manifest.json.",
    )
