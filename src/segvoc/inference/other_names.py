"""What other libraries call things, and their names here: for the errors of names that models and results lack."""

from collections.abc import Mapping


def _by_name(others: Mapping[str, str]) -> dict[str, str]:
    """Our name for each of the others, which are in the values, separated by spaces."""
    return {other: ours for ours, listed in others.items() for other in listed.split()}


OF_MODELS = _by_name(
    {
        "model.segment": "predict forward infer inference generate label detect annotate process run_inference "
        "segment_image predict_image predict_proba predict_masks set_image",
        "model.segment_many": "segment_batch predict_batch batch_predict stream predict_many segment_folder",
        "segvoc.labeling.videos.labeling.label_video": "segment_video predict_video track",
        'segvoc.load(name, device="cuda"), which puts it on a device': "to cuda cpu mps device set_device gpu",
        'segvoc.load(name, dtype="bfloat16"), which sets the precision': "half float bfloat16 bf16 fp16 quantize",
        'segvoc.load(name, optimize="compile")': "compile fuse warmup",
        "model.network of segvoc.load_network(...)": "eval requires_grad_ parameters modules state_dict "
        "load_state_dict net model backbone encoder image_encoder text_encoder freeze no_grad children hooks",
        "model.segment(image, words): any words, any time": "names classes words set_classes set_words vocab "
        "class_names labels id2label num_classes set_vocabulary",
        "model.encode(words)": "encode_text encode_words_once embed get_text_features tokenizer tokenize",
        "segvoc.train(...)": "train fit finetune training_step",
        "segvoc.evaluate(model, ...)": "val evaluate benchmark score test validate",
        "segvoc.save(model, path)": "save save_pretrained save_weights",
        'segvoc.push(model, "owner/name")': "push push_to_hub",
        "segvoc.export(model, folder)": "export to_onnx",
        "segvoc.teach(model, images)": "teach learn few_shot",
        'segvoc.load("owner/name")': "from_pretrained load load_weights",
        "segvoc.click(image, points=[(x, y)])": "click predict_point segment_anything",
        "repr(model), or `segvoc info NAME`": "info summary config describe num_parameters",
        "model.segment(image, words), which resizes and normalizes": "preprocess transform transforms processor "
        "image_processor postprocess image_size input_size",
    }
)

OF_RESULTS = _by_name(
    {
        'result.mask("cat"), or result.labels == index': "masks pred_masks binary_mask get_mask mask_of binary "
        "mask_for semantic_mask instance_masks",
        "result.overlay()": "plot visualize draw render annotated visualization image_overlay blend to_image to_pil "
        "colored color_map colormap",
        "result.report()": "to_json json to_dict tojson summary shares fractions percentages area areas counts stats "
        "statistics pixels histogram mean_confidence not_found unsure legend",
        "result.words": "names classes class_names categories id2label vocabulary label_names",
        "result.confidence, or return_probabilities=True": "scores score conf confidences confidence_map uncertainty",
        "result.probabilities, with return_probabilities=True": "probs logits softmax heatmap heatmaps prob prob_map",
        "result.labels": "label_map labelmap segmentation seg pred numpy array sem_seg semantic_map class_map mask_map "
        "to_numpy ids class_ids prediction predictions argmax data tensor map cpu detach",
        "result.boxes(), or result.to_supervision()": "xyxy bbox bboxes detections to_detections box bounding_boxes",
        "result.polygons()": "contours outlines segments xy xyn to_polygons to_geojson shapes",
        "result.to_coco()": "to_rle rle annotations coco panoptic",
        "result.to_dataframe()": "to_pandas to_df dataframe df to_csv",
        "result.height and result.width, or result.labels.shape": "shape size orig_shape w h",
        "result.image": "orig_img original img photo",
        "result.crop(word)": "save_crop cutout extract cut_out crops",
        "result.seconds": "speed time elapsed latency",
        "result.source": "path filename file",
        "result.labels == 65535": "unlabeled ignore background_mask",
        "result.save(folder)": "write export to_file save_txt save_overlay save_mask save_json to_png imwrite",
        "segvoc.labeling.formats.objects.with_objects(result)": "instances components connected_components",
    }
)
