"""Write the programs of the embedded model, which run without PyTorch: src/segvoc/weights/tiny_*.

Usage: python tools/make_tiny_programs.py

The programs refer to the weights that ship beside them, so they hold little but operators. Run it when the weights of
`tiny` or the code of its networks have changed; tests/inference/exported/test_shipped.py compares both.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from segvoc.encoders.minilm import TOKENIZER_FILE
from segvoc.exporting.export import export
from segvoc.inference.exported.manifest import MANIFEST, ExportManifest
from segvoc.models.opening import load_network
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.storage.files import SHIPPED


def main() -> None:
    """Write the programs and what describes them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tiny"
        network = load_network("tiny", device="cpu", dtype="float32")
        found = export(network, out, afresh=True, say=lambda step: print(step, "..."))
        manifest = ExportManifest.read(out / MANIFEST)
        assert manifest.text is not None
        names = {program: f"tiny_{program}" for program in (*manifest.program_files, *manifest.files_apart)}
        for program, name in names.items():
            shutil.copyfile(out / program, SHIPPED / name)
    # the package's own files need no check at every start
    shipped = replace(manifest.renamed(names | {manifest.text.tokenizer: TOKENIZER_FILE.name}), files={})
    (SHIPPED / TINY_MANIFEST).write_text(shipped.to_json(), encoding="utf-8")
    print(f"logits differ by at most {found.difference:.1g} of the largest", file=sys.stderr)


if __name__ == "__main__":
    main()
