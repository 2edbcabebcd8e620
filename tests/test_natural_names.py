"""What people who know other tools type first: it works, or the answer names what does."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segvoc
from segvoc.errors import InputError, UsageError
from segvoc.inference.segmentation import Segmentations
from segvoc.models.shipped import open_tiny
from tests.cli.command import Command, make_command

PHOTO = Path(__file__).resolve().parents[1] / "samples/coffee.jpg"
PIXELS = np.asarray(Image.open(PHOTO))

OF_PACKAGE = """segment predict label from_pretrained load_model Model create_model pipeline AutoModel YOLO SamPredictor
finetune fit Trainer available_models imread read_image from_bgr from_cv2 push_to_hub Dataset load_dataset show
overlay val metrics device set_device Network Result encode version serve save_model to_onnx infer download sam
SamAutomaticMaskGenerator SAM2ImagePredictor CLIPSegProcessor init_model inference_model Detections MaskAnnotator
DefaultPredictor from_labelme"""

OF_MODEL = """predict forward infer generate detect to cuda cpu half float eval parameters state_dict names classes
set_classes train fit val evaluate save save_pretrained push_to_hub export teach from_pretrained predict_batch
segment_video track compile fuse warmup info summary config tokenizer encode_text processor preprocess backbone click
set_image requires_grad_ load_state_dict id2label num_classes post_process_semantic_segmentation"""

OF_RESULT = """masks pred_masks get_mask plot visualize draw render to_json json to_dict summary shares areas stats
classes scores conf probs logits heatmap label_map segmentation pred numpy cpu xyxy bbox detections contours segments
to_rle to_pandas df to_csv shape size orig_shape orig_img path speed unlabeled save_txt save_crop write instances
class_ids sem_seg to_geojson mean_confidence to_numpy polygons_of box to_yolo to_fiftyone compare
fraction share percentage pred_sem_seg save_labelme"""

CALLS: list[tuple[dict[str, Any], str]] = [
    *(({name: "cat"}, "words") for name in ("text", "prompt", "classes", "labels")),
    ({"words": "cup, table", "batch_size": 8}, "are batched as the device allows"),
    ({"words": "cup, table", "return_probs": True}, "return_probabilities"),
    *(({"words": "cup", name: 1}, "segvoc.load") for name in ("device", "half", "cuda")),
    ({"words": "cup", "stream": True}, "use model.segment_many"),
    ({"words": "cup", "treshold": 0.5}, "did you mean threshold"),
    ({"words": "cup", "xyz": 1}, "it takes images, words, options, parts"),
    ({"words": "cup", "points": [(1, 2)]}, "use segvoc.click"),
    *(({"words": words}, "name a file; read it") for words in ("words.txt", "@words", Path("classes.json"))),
    ({"words": b"cup"}, "must be a list"),
    ({"words": "cup, table", "background": True}, "not a name"),
    ({"words": {"cup", "table"}}, "give a list"),
    *(({"words": words}, "name an image; give the image first") for words in (str(PHOTO), PHOTO, "a.PNG")),
    ({"words": [["cup"], ["table"]]}, "all images of a call have the same words"),
]

IMAGES: list[tuple[Any, str]] = [
    (None, "cv2.imread gives None"),
    (iter([PIXELS]), "give a list of images, or call segment_many"),
    (np.stack([PIXELS, PIXELS]), r"list\(array\)"),
    (torch.zeros(2, 3, 8, 8), r"list\(tensor\)"),
    (PIXELS.astype(int), r"convert it: array.astype\(numpy.uint8\)"),
    (PIXELS > 99, r"255 \* array.astype"),
    (PIXELS[:4, :4].tolist(), r"got list; give numpy.array\(pixels, numpy.uint8\)"),
]

PATHS = [
    ("~/photo.jpg", "'~' isn't expanded here: give '/"),
    ("photos/*.jpg", r"glob.glob\(pattern\)"),
    ("www.example.org/a.jpg", "an address begins with https://"),
    (str(PHOTO.with_name("cofee.jpg")), r"does not exist \(did you mean coffee.jpg\?\)"),
    (str(PHOTO.parent), "is a folder, not an image; give the images in it"),
    *(
        (f"{start}{'QUJD' * 2000}", "no path is so long; of base64, give the bytes")
        for start in ("", "data:image/png;base64,")
    ),
]

FUNCTIONS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("load", (), {"weights": True}, "weights is True; give a name or a path or None"),
    ("load", (), {"model": "tiny"}, "did you mean name"),
    ("load", (["tiny"],), {}, "load: name is .*; give a name or a path"),
    ("load", (), {"weightz": "x"}, "did you mean weights"),
    ("load", (), {"device": 99}, "'cuda:99' is not available"),
    ("click", (PIXELS,), {"point": [(1, 1)]}, "did you mean points"),
    ("teach", ("tiny", "images/"), {}, "teach: model is 'tiny'; give a model of segvoc.load"),
    ("teach", (open_tiny(), "images/"), {}, "teach: images is 'images/'; give images of segvoc.read_dataset"),
    ("evaluate", (open_tiny(), "images/", "out"), {}, "task is 'images/'; give an EvaluationTask or images of segvoc."),
    ("evaluate", (open_tiny(),), {}, "missing a required argument: 'task'; it takes model, task, out"),
    ("train", (open_tiny(), "images/", "out"), {}, "give a recipe, such as segvoc.recipes.finetune"),
    ("save", ("a.safetensors", open_tiny()), {}, "model is 'a.safetensors'; give a model"),
    ("push", ("me/model", open_tiny()), {}, "model is 'me/model'; give a model"),
    ("click", (PIXELS, 225, 240), {}, "points=225 can't be read; give for example points="),
    ("click", (open_tiny(), PHOTO, [(1, 1)]), {}, "points=.* can't be read"),
]

METHODS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("overlay", ("x.png",), {}, "too many positional arguments; it takes alpha"),
    ("overlay", (), {"alpha": "half"}, "alpha is 'half'; give a number"),
    ("overlay", (), {"max_pixels": 0}, "give 1 or more"),
    ("overlay", (), {"opacity": 0.3}, "did you mean alpha"),
    ("to_coco", (), {"masks": "polygon"}, "give 'rle' or 'polygons'"),
    ("save", (None,), {}, "out_dir is None; give a name or a path"),
    ("save", ("out",), {"overlay": False}, "overlay is False; give an overlay's style or None"),
    ("show", (), {"block": True}, "it takes none"),
    ("mask", (["cup", "table"],), {}, "mask is that of one word"),
]

COMMANDS = [
    *(([typed, "photo.jpg"], f"mean {ours}?") for typed, ours in (("predict", "segment"), ("finetune", "train"))),
    (["photo.jpg"], 'segvoc segment photo.jpg --words "cat, sofa, wall"'),
    *((["segment", "a.jpg", f"--{name}", "cat"], "did you mean --words?") for name in ("text", "prompt", "classes")),
    (["segment", "a.jpg", "--words", "cat", "--conf", "0.4"], "did you mean --threshold?"),
    *((["segment", name, "a.jpg"], "images are named without an option") for name in ("--source", "--images", "-i")),
    (["segment", "a.jpg", "--words", "cat", "--imgsz", "640"], "images may have any size"),
    (["segment", "a.jpg", "--words", "cat", "--batch-size", "8"], "batched as the device allows"),
    (["segment", PHOTO, "dog", "wall"], '--words "dog, wall"'),
    (["push", "run", "me/model"], "'run' does not exist; give a run folder"),
    (["compare", "a", "b"], "did you mean evaluate?"),
    (["click", "a.jpg", "--point", "2,3"], "points are named without an option"),
    (["segment", "a.jpg", "--quiet"], "No such option: --quiet (see segvoc segment --help)"),
    (["segment", "a.jpg", "--words"], "requires an argument. (see segvoc segment --help)"),
    (["segment", "a.jpg", "--words", "@words.txt"], "--words-file FILE"),
    (["segment", PHOTO, "--words", "cat", "--out", "labels.png"], "is a file, or named like one"),
    (["segment", "a.jpg", "--words", "cat", "--format", "coco"], "did you mean coco-panoptic or coco-instances?"),
    (["segment", PHOTO, "--words", "cat", "--device", "gpu"], "unknown device 'gpu'; use 'cuda'"),
    (["segment", PHOTO, "--words", "cat", "--model", "pcaseg"], "the nearest are pca-seg-l, pca-seg-b, "),
    (["segment", "my", "photo.jpg", "--words", "cat"], "put quotes around the name: 'my photo.jpg'"),
    (["segment", "my photo.jpg", "--words", "cat", "--show"], "pictures are written: see out/*.overlay.png"),
    (["--words", "cat", "photo.jpg"], "options follow a command"),
    (["click", "120,80", "photo.jpg"], "the image comes first"),
    (["export", "tiny", "model.onnx"], "an export is a folder of them; name a folder"),
]


@pytest.fixture(scope="module")
def result() -> segvoc.Segmentation:
    return open_tiny().segment(PIXELS[..., ::-1], "cup, table")


@pytest.mark.parametrize(("kind", "names"), [("segvoc", OF_PACKAGE), ("model", OF_MODEL), ("result", OF_RESULT)])
def test_a_name_of_other_libraries_works_or_is_answered_with_ours(kind, names, result):
    thing = {"segvoc": segvoc, "model": open_tiny(), "result": result}[kind]
    for name in names.split():
        if name in dir(thing):
            continue
        with pytest.raises(AttributeError, match=r"; (use|leave it out: )|\(did you mean "):
            getattr(thing, name)


@pytest.mark.usefixtures("as_users_call")
def test_arguments_of_other_libraries_are_answered_with_ours(result: segvoc.Segmentation) -> None:
    model = open_tiny()
    for arguments, said in CALLS:
        with pytest.raises(UsageError, match=said):
            model.segment(PIXELS, **arguments)
    for image, said in (*IMAGES, (result, "got Segmentation; give its .image")):
        with pytest.raises(UsageError, match=said):
            model.segment(image, "cup")
    for path, said in PATHS:
        with pytest.raises(InputError, match=said) as refusal:
            model.segment(path, "cup")
        assert len(str(refusal.value)) < 200
    with pytest.raises(UsageError, match="give a list: sorted"):
        model.segment_many("photos", "cup")  # pyright: ignore[reportArgumentType, reportCallIssue]
    with pytest.raises(UsageError, match="give a list"):
        model.segment_many(PIXELS, "cup")  # pyright: ignore[reportArgumentType, reportCallIssue]
    for kind, calls in ((segvoc, FUNCTIONS), (result, METHODS)):
        for name, given, named, said in calls:
            with pytest.raises(UsageError, match=said):
                getattr(kind, name)(*given, **named)
    part = replace(result, parts=(segvoc.Part("cup", "handle"),), part_labels=result.labels)
    with pytest.raises(UsageError, match="did you mean cup's handle"):
        part.mask("handle")
    for wrong in (lambda: result.mask(0), lambda: result.boxes(0), lambda: result.crop(0)):  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError, match=r"result\.labels == 0"):
            wrong()
    for listed in (lambda: len(result), lambda: result[0], lambda: [*result], lambda: np.asarray(result)):
        with pytest.raises(TypeError, match=r"a result isn't a(n array; use result.labels| list)"):
            listed()
    with pytest.raises(AttributeError, match=r"take one: results\[0\].overlay, or loop over them"):
        _ = Segmentations([result]).overlay  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UsageError, match="isn't among this result's words"):
        _ = "dog" in result
    assert result and "cup" in result and result["Cup "].any()
    words = segvoc.Vocabulary("cup, table")
    assert (words[0], list(words), "cup" in words) == ("cup", ["cup", "table"], True)
    assert repr(model.encode(words)) == "<PreparedVocabulary of 2: cup, table>"


def test_images_of_opencv_are_a_view_away(result: segvoc.Segmentation) -> None:
    same = open_tiny().segment(PIXELS[..., ::-1].copy(), "cup, table")
    assert np.array_equal(result.labels, same.labels)
    bgr = PIXELS[..., ::-1].copy()
    assert np.array_equal(segvoc.click(bgr[..., ::-1], [(120, 80)]), segvoc.click(PIXELS, [(120, 80)]))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "my photo.jpg")
    return make_command(monkeypatch, capfd)


@pytest.mark.parametrize(("arguments", "said"), COMMANDS)
def test_commands_and_options_of_other_tools_are_answered_with_ours(command, arguments, said):
    command(*arguments).refused(said)


def test_help_and_version_need_no_dashes(command: Command) -> None:
    assert command("help").ok().out == command("--help").ok().out
    assert command("help", "segment").ok().out == command("segment", "--help").ok().out
    assert command("version").ok().out == command("--version").ok().out
