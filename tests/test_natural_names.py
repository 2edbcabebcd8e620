"""What people who know other tools type first: it works, or the answer names what does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.errors import UsageError
from segvoc.models.opening import load_tiny
from tests.cli.command import Command, make_command

PHOTO = Path(__file__).resolve().parents[1] / "samples/coffee.jpg"
PIXELS = np.asarray(Image.open(PHOTO))

OF_PACKAGE = """segment predict label from_pretrained load_model Model create_model pipeline AutoModel YOLO SamPredictor
finetune fit Trainer available_models imread read_image from_bgr from_cv2 push_to_hub Dataset load_dataset show
overlay val metrics device set_device Network Result encode version serve save_model to_onnx infer download sam"""

OF_MODEL = """predict forward infer generate detect to cuda cpu half float eval parameters state_dict names classes
set_classes train fit val evaluate save save_pretrained push_to_hub export teach from_pretrained predict_batch
segment_video track compile fuse warmup info summary config tokenizer encode_text processor preprocess backbone click
set_image requires_grad_ load_state_dict id2label num_classes"""

OF_RESULT = """masks pred_masks get_mask plot visualize draw render to_json json to_dict summary shares areas stats
classes scores conf probs logits heatmap label_map segmentation pred numpy cpu xyxy bbox detections contours segments
to_rle to_pandas df to_csv shape size orig_shape orig_img path speed unlabeled save_txt save_crop write instances
class_ids sem_seg to_geojson mean_confidence to_numpy polygons_of box"""

CALLS: list[tuple[dict[str, Any], str]] = [
    ({"text": "cat"}, "words"),
    ({"prompt": "cat"}, "words"),
    ({"classes": ["cat"]}, "words"),
    ({"labels": ["cat"]}, "words"),
    ({"words": "cup, table", "conf": 0.3}, "threshold"),
    ({"words": "cup, table", "confidence": 0.3}, "threshold"),
    ({"words": "cup, table", "imgsz": 640}, "window"),
    ({"words": "cup, table", "return_probs": True}, "return_probabilities"),
    ({"words": "cup, table", "background": True}, "not a name"),
    ({"words": {"cup", "table"}}, "give a list"),
    ({"words": "cup, table", "threshold": "high"}, "is not a number or none; give one"),
]

COMMANDS = [
    (["photo.jpg"], 'segvoc segment photo.jpg --words "cat, sofa, wall"'),
    *((["segment", "a.jpg", option, "cat"], "did you mean --words?") for option in ("--text", "--prompt", "--classes")),
    (["segment", "a.jpg", "--labels", "cat"], "did you mean --words?"),
    (["segment", "a.jpg", "--words", "cat", "--conf", "0.4"], "did you mean --threshold?"),
    (["segment", "a.jpg", "--words", "cat", "-o", "out"], "did you mean --out?"),
    (["segment", "--source", "a.jpg", "--words", "cat"], "images are named without an option"),
    (["segment", "a.jpg", "--words", "cat", "--format", "coco"], "did you mean coco-panoptic or coco-instances?"),
    (["segment", PHOTO, "--words", "cat", "--device", "gpu"], "unknown device 'gpu'; use 'cuda'"),
    (["segment", PHOTO, "--words", "cat", "--model", "pcaseg"], "the nearest are pca-seg-l, pca-seg-b, "),
]


@pytest.fixture(scope="module")
def result() -> segvoc.Segmentation:
    return load_tiny().segment(PIXELS[..., ::-1], "cup, table")


@pytest.mark.parametrize(("kind", "names"), [("segvoc", OF_PACKAGE), ("model", OF_MODEL), ("result", OF_RESULT)])
def test_a_name_of_other_libraries_works_or_is_answered_with_ours(
    kind: str, names: str, result: segvoc.Segmentation
) -> None:
    thing = {"segvoc": segvoc, "model": load_tiny(), "result": result}[kind]
    for name in names.split():
        if name in dir(thing):
            continue
        with pytest.raises(AttributeError, match=r"; use |\(did you mean "):
            getattr(thing, name)


@pytest.mark.usefixtures("as_users_call")
def test_arguments_of_other_libraries_are_answered_with_ours(result: segvoc.Segmentation) -> None:
    for arguments, said in CALLS:
        with pytest.raises(UsageError, match=said):
            load_tiny().segment(PIXELS, **arguments)
    for wrong in (lambda: result.mask(0), lambda: result.boxes(0), lambda: result.crop(0)):  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError, match=r"result\.labels == 0"):
            wrong()
    for listed in (lambda: len(result), lambda: result[0]):
        with pytest.raises(TypeError, match="one Segmentation, and no list"):
            listed()
    assert result


def test_images_of_opencv_are_a_view_away(result: segvoc.Segmentation) -> None:
    same = load_tiny().segment(PIXELS[..., ::-1].copy(), "cup, table")
    assert np.array_equal(result.labels, same.labels)
    bgr = PIXELS[..., ::-1].copy()
    assert np.array_equal(segvoc.click(bgr[..., ::-1], [(120, 80)]), segvoc.click(PIXELS, [(120, 80)]))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return make_command(monkeypatch, capfd)


@pytest.mark.parametrize(("arguments", "said"), COMMANDS)
def test_commands_and_options_of_other_tools_are_answered_with_ours(
    command: Command, arguments: list[str], said: str
) -> None:
    command(*arguments).refused(said)


def test_help_and_version_need_no_dashes(command: Command) -> None:
    assert command("help").ok().out == command("--help").ok().out
    assert command("help", "segment").ok().out == command("segment", "--help").ok().out
    assert command("version").ok().out == command("--version").ok().out
