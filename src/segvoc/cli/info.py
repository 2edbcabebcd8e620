"""`segvoc info`: components, parameters and weights of a model."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from segvoc.checkpoints.published import PUBLISHED, UNCONFIRMED, PublishedFile, UnconfirmedFile
from segvoc.checkpoints.terms import NOT_STATED, sources_of, terms, terms_of_training
from segvoc.cli.options import setting_option
from segvoc.cli.output import echo, example
from segvoc.errors import UsageError, human_size, missing_extra
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.inference.taught.taught_words import TaughtWords
from segvoc.models.catalog import catalog
from segvoc.models.resolving import resolve
from segvoc.models.shipped import open_tiny
from segvoc.storage.files import SHIPPED, file_sha256
from segvoc.storage.records import differences, parse_settings, to_json

if TYPE_CHECKING:
    from segvoc.models.preset import Preset


@click.command("info", epilog=example("segvoc info pca-seg-b"))
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@setting_option("Change a setting of the preset, such as blocks=2; repeatable.")
def info_command(model: str, as_json: bool, options: Sequence[str]) -> None:
    """Show the components of MODEL, its parameters, and the origin, license and scores of its weights.

    MODEL is a preset, a segvoc .safetensors file, the folder of a run or of an export, OWNER/NAME on the Hugging Face
    hub, or a published file of `segvoc fetch --list`.
    """
    facts = describe(model, options)
    echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def describe(model: str, options: Sequence[str] = ()) -> dict[str, Any]:
    """Describe a model or a published file: `_described`, and "terms", what its licenses allow."""
    facts = _described(model, options)
    return {**facts, "terms": _terms(model, facts["weights"])}


def _described(model: str, options: Sequence[str]) -> dict[str, Any]:
    """Describe a model or a published file.

    Keys: "name", "summary", "parameters" (all, trainable, and per component) and "weights"; files add "preset", and
    "words", "background" and "taught" if they have any; an exported folder has "dtype" instead of parameters;
    presets add "training_starts_from" and "published_scores" (without PyTorch, only facts from the catalog).
    "trainable" counts the parameters that the published recipe trains: all but the towers, and some of the towers'
    attention. A published file that isn't the weights of a preset has only "name", "summary" and "weights".
    """
    if model in catalog().models and find_spec("torch") is None:
        if options:
            raise missing_extra("PyTorch", "torch")
        known = catalog().models[model]
        sizes = {"parameters": known.parameters, "trainable": known.trainable}
        return {"name": model, "summary": known.summary, **sizes, "weights": _weights(model)}
    if model in PUBLISHED and model not in catalog().models:
        if options:
            raise UsageError(f"{model} is a published file without settings; leave out --set")
        return {"name": model, "summary": PUBLISHED[model].summary, "weights": _published(PUBLISHED[model])}
    spec = resolve(model, options=parse_settings(options))
    if spec.source == "exported":
        return _of_folder(ExportedSegmenter(model))

    from segvoc.models.loading import find_device, find_dtype, keeps_labels_in_bfloat16
    from segvoc.models.weightless import weightless  # here, since PyTorch takes seconds to import
    from segvoc.models.weights import architecture

    preset, configuration = architecture(spec)
    changes = differences(configuration, preset.configuration)
    with weightless():
        network = preset.build(configuration)
    parameters = dict(network.named_parameters())
    parts: dict[str, int] = {}
    for key, value in parameters.items():
        part = key.partition(".")[0]
        parts[part] = parts.get(part, 0) + value.numel()
    auto_dtype = find_dtype("auto", find_device("auto"), keeps_labels=keeps_labels_in_bfloat16(spec))
    return {
        "name": model,
        **({} if spec.name == spec.preset else {"preset": spec.preset}),
        "summary": preset.summary,
        "parameters": sum(value.numel() for value in parameters.values()),
        "trainable": sum(parameters[key].numel() for key in network.trainable_parameters()),
        "parts": parts,
        **({"options": changes} if changes else {}),
        "templates": list(preset.templates_of(configuration)),
        "auto_dtype": str(auto_dtype).removeprefix("torch."),
        **_words(spec.known_words, spec.background, spec.taught),
        **(_of_file(spec.path, spec.record) if spec.path and spec.record else _of_preset(spec.preset, preset)),
    }


def _words(known: Sequence[str], background: str | None, taught: Sequence[TaughtWords]) -> dict[str, Any]:
    """The words that a model knows, their background, and how each of the taught ones scored."""
    return {
        **({"words": list(known)} if known else {}),
        **({"background": background} if background else {}),
        **({"taught": [to_json(words.record) for words in taught]} if taught else {}),
    }


def _of_folder(model: ExportedSegmenter) -> dict[str, Any]:
    """Describe an exported folder."""
    about = model.manifest
    files = {name: human_size(file["bytes"]) for name, file in about.files.items()}
    return {
        "name": str(model.folder),
        "preset": about.origin.get("preset", about.name),
        "summary": "exported programs",
        "dtype": about.dtype,
        **_words(about.vocabulary or model.known_words, model.known_background, model.taught),
        "weights": {"status": "exported", **about.origin.get("record", {}), "on_disk": files},
    }


def _weights(name: str) -> dict[str, Any]:
    """Facts about a preset's weights, from the catalog (without PyTorch)."""
    listed = catalog().models[name]
    if listed.ships:
        record = cast(dict[str, Any], open_tiny().origin["record"])
        files = {path.name: _on_disk(path) for path in sorted(SHIPPED.glob("*.safetensors"))}
        return {"status": "shipped", **record, "on_disk": files}
    if listed.published is None:
        return {"status": "not published", "how_to_get": listed.how_to_get}
    return _published(PUBLISHED[listed.published])


def _terms(model: str, weights: Mapping[str, Any]) -> dict[str, Any]:
    """What the licenses of the code, of a model's weights and of what these learned from allow."""
    unconfirmed = catalog().models[model].unconfirmed if model in catalog().models else None
    file = PUBLISHED.get(weights.get("name", ""))
    if weights["status"] == "not published" and unconfirmed is not None:
        file = UNCONFIRMED[unconfirmed]
    if file is not None:
        return terms(file.license, [file.learned_from] if file.learned_from else [], file.license_note)
    if sources := sources_of(weights):
        return terms(weights.get("license", ""), list(sources.values()))
    return terms_of_training()


def _of_file(path: str, record: Mapping[str, Any]) -> dict[str, Any]:
    said = ("preset", "options", "configuration", "status", "classes", "background", "taught")
    facts = {key: value for key, value in record.items() if key not in said}
    return {"weights": {"status": "file", **facts, "file_sha256": file_sha256(path), "on_disk": _on_disk(Path(path))}}


def _of_preset(name: str, preset: "Preset") -> dict[str, Any]:
    """Facts only presets have: published weights, where training starts from, published scores."""
    starts = {"training_starts_from": [_encoders(file) for file in preset.encoders]} if preset.encoders else {}
    scores = _scores(name, fetched=preset.published is not None)
    return {"weights": _weights(name), **starts, "published_scores": scores}


def _scores(preset: str, *, fetched: bool) -> dict[str, Any]:
    """Published scores of a preset, in percent, by table and benchmark; how to check downloaded weights."""
    from segvoc.data.published_scores import PUBLISHED_ROWS

    tables: dict[str, dict[str, Any]] = {}
    for row in PUBLISHED_ROWS:
        if row.main and row.preset == preset:
            for benchmark, scores in row.scores.items():
                name = benchmark if row.protocol is None else f"{benchmark}, {row.protocol}"
                tables.setdefault(row.title, {})[name] = dict(scores)
    if not tables:
        return {"note": "the papers that segvoc reproduces report no scores for exactly this network"}
    check = {"check": f"python -m papers.reproduce {preset} --data ROOT --out REPORT, in a clone"} if fetched else {}
    return {"note": "published, not reproduced here", **check, **tables}


def _published(file: PublishedFile) -> dict[str, Any]:
    """The origin of a published file, and whether it is downloaded."""
    from segvoc.checkpoints.fetching import cached

    path = cached(file)
    note = {"license_note": file.license_note} if file.license_note else {}
    return {
        "status": "published",
        **file.record(),
        **note,
        "page": file.place.page,
        "size": file.size_text,
        "on_disk": f"not fetched yet: segvoc fetch {file.name}" if path is None else _on_disk(path),
        "sources": [{"page": source.page, "states": source.states} for source in file.sources],
    }


def _encoders(file: PublishedFile | UnconfirmedFile) -> dict[str, Any]:
    if isinstance(file, PublishedFile):
        wanted = ("name", "filename", "sha256", "license", "page", "on_disk")
        return {key: value for key, value in _published(file).items() if key in wanted}
    license = {"license": file.license or NOT_STATED}
    return {"name": file.name, "summary": file.summary, **license, "page": file.page, "not_fetched": file.reason}


def _on_disk(path: Path) -> str:
    return f"{human_size(path.stat().st_size)} at {path}"


_SHOWN_TEXTS = 3
"""Maximum number of strings shown of a long list, except in JSON."""


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Format facts as an indented list, with thousands separators and long lists cut."""
    lines: list[str] = []
    for key, value in facts.items():
        title = f"{indent}{_shown(key if '.' in key else key.replace('_', ' '))}:"
        if isinstance(value, dict):
            lines += [title, *_lines(value, f"{indent}  ")]
        elif isinstance(value, list):
            lines.append(title)
            texts = [entry for entry in value if isinstance(entry, str)]
            cut = len(value) - _SHOWN_TEXTS if len(texts) == len(value) > _SHOWN_TEXTS + 1 else 0
            for entry in value[: len(value) - cut]:
                if isinstance(entry, dict):
                    first, *rest = _lines(entry, f"{indent}    ")
                    lines += [f"{indent}  - {first.lstrip()}", *rest]
                else:
                    lines.append(f"{indent}  {_shown(entry)}")
            lines += [f"{indent}  and {cut} more (--json has all)"] if cut else []
        else:
            lines.append(f"{title} {value:,}" if isinstance(value, int) else f"{title} {_shown(value)}")
    return lines


def _shown(value: object) -> str:
    """A value as text; quoted if it contains control characters, since files are untrusted."""
    text = str(value)
    return text if text.isprintable() else repr(text)
