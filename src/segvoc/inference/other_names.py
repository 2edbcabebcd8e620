"""What other libraries call things, and their names here: for the errors of names that models and results lack."""

OF_MODELS = {
    **dict.fromkeys(("predict", "forward", "infer", "inference", "generate", "label", "detect"), "model.segment"),
    **dict.fromkeys(("to", "cuda", "cpu", "mps"), 'segvoc.load(name, device="cuda"), which puts it on a device'),
    **dict.fromkeys(("half", "float", "bfloat16"), 'segvoc.load(name, dtype="bfloat16"), which sets the precision'),
    **dict.fromkeys(("eval", "requires_grad_", "parameters", "modules"), "model.network of segvoc.load_network(...)"),
    **dict.fromkeys(("names", "classes", "words", "set_classes"), "model.segment(image, words): any words, any time"),
    **dict.fromkeys(("train", "fit", "finetune"), "segvoc.train(...)"),
    **dict.fromkeys(("val", "evaluate", "benchmark"), "segvoc.evaluate(model, ...)"),
    **dict.fromkeys(("save", "save_pretrained"), "segvoc.save(model, path)"),
    **dict.fromkeys(("push", "push_to_hub"), 'segvoc.push(model, "owner/name")'),
    "export": "segvoc.export(model, folder)",
    "teach": "segvoc.teach(model, images)",
    "from_pretrained": 'segvoc.load("owner/name")',
}

OF_RESULTS = {
    **dict.fromkeys(("masks", "pred_masks", "binary_mask"), 'result.mask("cat"), or result.labels == index'),
    **dict.fromkeys(("plot", "visualize", "draw", "render", "annotated"), "result.overlay()"),
    **dict.fromkeys(("to_json", "json", "to_dict", "tojson", "summary", "shares"), "result.report()"),
    **dict.fromkeys(("names", "classes", "class_names", "categories"), "result.words"),
    **dict.fromkeys(("scores", "score", "conf", "confidences"), "result.confidence, or return_probabilities=True"),
    **dict.fromkeys(("probs", "logits", "softmax"), "result.probabilities, with return_probabilities=True"),
    **dict.fromkeys(("label_map", "labelmap", "segmentation", "seg", "pred", "numpy", "array"), "result.labels"),
    **dict.fromkeys(("xyxy", "bbox", "bboxes", "detections"), "result.boxes(), or result.to_supervision()"),
    **dict.fromkeys(("contours", "outlines"), "result.polygons()"),
    **dict.fromkeys(("to_pandas", "to_df", "dataframe", "df"), "result.to_dataframe()"),
    **dict.fromkeys(("shape", "size", "orig_shape"), "result.height and result.width, or result.labels.shape"),
    **dict.fromkeys(("orig_img", "original", "img"), "result.image"),
    **dict.fromkeys(("write", "export", "to_file"), "result.save(folder)"),
}
