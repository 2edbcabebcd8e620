"""CostRow of words before and after aggregation."""

import numpy as np
import pytest
import torch
from PIL import Image

from papers.costs import MAX_WORDS, cost_views, forward_single_view
from segvoc.errors import UsageError
from segvoc.inference.label_options import LabelOptions
from segvoc.vocabulary import Vocabulary
from tests.inference.tensor_views import views
from tests.papers.small_views import WORDS, make_image, segmenter


def test_before_are_the_cosines_and_after_the_networks_probabilities():
    small = segmenter()
    seen = cost_views(small, make_image(), WORDS, show=["wall", "cat"], window="single")
    assert seen.words == ("wall", "cat")
    image = np.asarray(Image.fromarray(make_image()).resize((64, 64), Image.Resampling.BILINEAR))
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float()
    text = small.encode_words(Vocabulary(WORDS))
    with torch.no_grad():
        features, logits = small.network.image_encoder(pixels).maps[0][0], small.network(pixels, text)[0]
    for row, index in enumerate((2, 0)):
        cosine = torch.cosine_similarity(features, text[index, 0, :, None, None], dim=0)
        np.testing.assert_allclose(seen.before[0][row], cosine, atol=1e-5)
        np.testing.assert_allclose(seen.after[row], logits[index].sigmoid(), atol=1e-5)


def test_sliding_windows_are_looked_at_as_a_whole():
    small = segmenter()
    whole = views(make_image(), small.protocol(LabelOptions(window="official", keep_classes="all"), 5))[-1:]
    with torch.no_grad():
        logits = small.network(whole, small.encode_words(Vocabulary(WORDS)), pooling=(1, 1))[0]
    torch.testing.assert_close(forward_single_view(small, make_image(), WORDS, "official").logits, logits)


def test_unknown_and_too_many_words_are_refused():
    with pytest.raises(UsageError, match="'lamp' can't be shown, it isn't one of the words: cat"):
        cost_views(segmenter(), make_image(), WORDS, show=["lamp"])
    with pytest.raises(UsageError, match="don't fit into one figure"):
        cost_views(segmenter(), make_image(), WORDS, show=["cat"] * (MAX_WORDS + 1))
